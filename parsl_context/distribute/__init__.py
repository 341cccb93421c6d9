"""Files that contexts need, on the disk of the node where the contexts are built: their origins and the store.

Not values and code, which travel in messages (`wire`, `content`). Called by `retain` when a context with files
is built.
"""
