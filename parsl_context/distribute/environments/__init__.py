"""Software environments: packed once, unpacked once for each node, run by an interpreter of their own.

`index` is the format, `collecting` and `packing` write it, `unpacking` reads it, `adopting` makes it an entry of the
node store, `runtime` gives its interpreter what a worker needs.
"""
