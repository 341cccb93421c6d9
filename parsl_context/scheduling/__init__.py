"""Decisions, and nothing else: no socket, no thread, no clock, no configuration is read here.

`cluster` decides for the interchange which manager gets which call, `node` for a manager which worker runs it.
Both are state machines: an event and the time go in, actions come out. `placement` holds the rules they share.
"""
