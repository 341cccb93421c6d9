"""A node's worker pool: the manager, the zygote its workers are forked from, and the workers."""
