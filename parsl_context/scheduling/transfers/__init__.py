"""Which node gets which part of a file from whom. Pure: events in, actions out, time and randomness passed in.

`Directory` hears of all files and nodes; a `Swarm` is the books of one file. Driven by `interchange.transfers`.
"""
