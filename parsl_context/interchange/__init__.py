"""The process that owns the queue: sockets and timers around the decisions of `scheduling.cluster`.

It never unpickles what a user or a worker sent; payloads, functions and contexts pass through it as opaque frames.
Started by `executor`, as `python -m parsl_context.interchange`.
"""
