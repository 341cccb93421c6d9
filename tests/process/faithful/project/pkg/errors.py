"""Exceptions with constructors of their own."""


class PkgError(Exception):
    pass


class QuotaError(PkgError):
    def __init__(self, site, *, left):
        super().__init__(f"{left} GB are left at {site}")
        self.site = site
        self.left = left


class PkgWarning(UserWarning):
    pass


def fail(site, left=3):
    raise QuotaError(site, left=left)  # the line that fails
