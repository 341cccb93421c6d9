"""What people type: `parsl-context` and its subcommands.

Not the commands that start our own processes (`python -m parsl_context.pool` and `.interchange`).
"""
