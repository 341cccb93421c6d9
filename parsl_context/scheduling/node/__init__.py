"""Decides for a manager: which worker runs which call, builds which context, and what makes room for it.

`state` keeps the `books` as events come in and asks `placement`, `builds` and `room` what follows; it gives actions
(`events`). Not which manager (`cluster`). Called by `pool.driver`.
"""
