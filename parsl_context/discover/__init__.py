"""What a function needs: modules, files, captured values; how that is carried to workers.

Called by `executor`, and for people by `apps` and `cli`. What a worker does with it is in `retain`.
"""
