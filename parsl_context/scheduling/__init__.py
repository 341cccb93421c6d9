"""Decisions, and nothing else: no socket, no thread, no clock, no configuration is read here.

`cluster` decides for the interchange which manager gets which call and where contexts are built, `node` for a manager
which worker runs it. An event and the time go in, actions come out. `lines` and `placement` hold what both share.
"""
