"""The process that owns the queue: sockets and timers around the decisions of `parsl_context.scheduling`.

It never unpickles what a user or a worker sent; payloads, functions and contexts pass through it as opaque frames.
"""
