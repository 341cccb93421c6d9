"""Functions, contexts and values as content: their digests, how they are pickled, which modules they need.

Not the frames they travel in (`wire`), not the files they read (`distribute`). Called by `apps` and `executor` to pack,
by `pool` to unpack.
"""
