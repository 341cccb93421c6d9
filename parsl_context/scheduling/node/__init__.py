"""Decides for a manager: which worker runs which call, builds which context, and what makes room for it.

`state` takes events and gives actions (`events`). Not which manager (`cluster`). Called by `pool.driver`.
"""
