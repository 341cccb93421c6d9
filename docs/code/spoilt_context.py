"""Contexts that bodies change, for docs/how-to/protect-a-context.rst. Prints what each
call found."""

import tempfile

import parsl
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app, context_dirty


@context(isolation="call")
def settings():
    return {"mode": "fast"}


@context_app(context=settings())
def try_out(held, mode):
    before = held["mode"]
    held["mode"] = mode  # in this call's own process
    return before


@context(max_uses=1000, max_age_s=3600)
def connection():
    return {"is_open": True}


@context_app(context=connection())
def query(held, number):
    was_open = held["is_open"]
    if number == 1:  # the server has closed it, say
        held["is_open"] = False
        context_dirty()
    return was_open


if __name__ == "__main__":
    executor = ContextExecutor(
        max_workers_per_node=1, provider=LocalProvider(init_blocks=1, max_blocks=1)
    )
    with (
        tempfile.TemporaryDirectory() as run_dir,
        parsl.load(parsl.Config([executor], run_dir=run_dir, strategy_period=0.5)),
    ):
        print(
            "isolated:", [try_out(mode).result() for mode in ("exact", "wild", "slow")]
        )
        print("renewed: ", [query(number).result() for number in range(4)])
