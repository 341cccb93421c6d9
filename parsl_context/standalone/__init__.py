"""A context app as one function that needs nothing of ours where it runs: see `parsl_context.standalone.function`.

`runtime` is what such a function carries; the other modules make it, from functions and plain values. What contexts and
apps are, `parsl_context.apps.standalone` knows.
"""
