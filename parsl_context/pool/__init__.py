"""The processes of a node: manager, zygote, templates and workers; hardware, settings, the link to the interchange.

Not which worker runs a call (`scheduling.node`), not what is done with a context in a process (`retain`). Started by
blocks, as `python -m parsl_context.pool`.
"""
