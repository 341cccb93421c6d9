"""What a function needs: modules, distributions, captured values, paths, and what a worker would lack of them.

    a function ── reach ──▶ names of modules, values, code ── modules ──▶ files, distributions, what is lacking
                            (objects of this process)                     (source that these import in turn)

Nothing of the user's runs for it, but for what pickling a captured value calls. What it gives is plain data, for people
and for `parsl-context discover`; what travels with a call is decided by `discover.packages`.
"""

from parsl_context.discover.needs.data import (
    Captured,
    Distribution,
    FunctionNeeds,
    Lacking,
    NeededPath,
    UserModule,
    Where,
)
from parsl_context.discover.needs.finding import needs_of, requirements

__all__ = [
    "Captured",
    "Distribution",
    "FunctionNeeds",
    "Lacking",
    "NeededPath",
    "UserModule",
    "Where",
    "needs_of",
    "requirements",
]
