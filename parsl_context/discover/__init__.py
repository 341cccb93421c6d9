"""What a function needs: modules, files, captured values; how that is carried to workers.

Called by `executor`. What a worker does with it is in `retain`.
"""
