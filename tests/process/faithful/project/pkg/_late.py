"""Imported when it is needed."""


class Late:
    pass
