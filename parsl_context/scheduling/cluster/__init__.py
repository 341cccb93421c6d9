"""Decides for the interchange: which manager gets which call, where contexts are built, which blocks go.

`state` keeps the `books` as events come in and asks `placement` and `builds` what follows; it gives actions (`events`).
Also the rows of `contexts()` (`views`). Not which worker of a manager (`node`). Called by `interchange.driver`.
"""
