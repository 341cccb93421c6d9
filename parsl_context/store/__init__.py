"""Files that contexts need, on the disk of the node where the contexts are built."""
