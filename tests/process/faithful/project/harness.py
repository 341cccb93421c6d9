"""Runs the probes of the project, on workers or in plain Python, and writes what each gave.

Lies beside the project's script, which fills its lists. What to do comes from the environment: `FAITHFUL_LOCAL`, whether
all is plain Python; `FAITHFUL_LEVELS`; `FAITHFUL_ONLY`, names of probes; `FAITHFUL_HIDDEN`, a folder that workers do not
have; `FAITHFUL_OUT`, the file for the values.
"""

import json
import os
import traceback

LEVELS = {"memory": {}, "node": {"share": "node"}, "isolated": {"isolation": "call"}, "app": {}}
TIMEOUT_S = 60  # of a call, which may start children that import PyTorch, on a busy machine
SAME = "the value in plain Python"  # what is expected of a row where nothing else is said

PROBES = {}
_now = {"level": None}  # level at which contexts are made; None in plain Python


def nothing():
    """The context of probes that need none."""


def probe(build=nothing, *, context=tuple, args=tuple, after=None, expected=SAME):
    """Register a body: it gets what `build` made of the values of `context()`, and the values of `args()`.

    `after` makes a plain value of the result, or of the exception, in the process of the script.
    """

    def register(body):
        def run(make_app):
            return make_app(body, build, *context())(*args())

        run.needs_context = build is not nothing
        PROBES[body.__name__] = (run, after, expected)
        return body

    return register


def sequence(*, expected=SAME):
    """Register a function that gets `make_app` and returns a plain value; `make_app(body, build, *args)` gives an app."""

    def register(function):
        PROBES[function.__name__] = (function, None, expected)
        return function

    return register


def made(function, *args):
    """A context, to be an argument of another; in plain Python its instance."""
    if _now["level"] is None:
        return _built(function, args)
    from parsl_context import context

    return context(**LEVELS[_now["level"]])(function)(*args)


def level():
    """Options of contexts now; for blocks."""
    return LEVELS[_now["level"] or "memory"]


def block_app(function):
    """An app of a function with a block; in plain Python the function."""
    if _now["level"] is None:
        return function
    from parsl_context import context_app

    app = context_app(executors=[_now["level"]])(function)
    return lambda *call: app(*call).result(timeout=TIMEOUT_S)


def main(share=0, shares=1):
    """Run each of the probes, or a share of them, and write the values."""
    names = sorted(PROBES)[share::shares]
    only = os.environ.get("FAITHFUL_ONLY")
    names = [name for name in names if only is None or name in only.split(",")]
    if os.environ.get("FAITHFUL_LOCAL"):
        values = {name: value_of(name, _plain) for name in names}
        write({"plain": values, "expected": {name: PROBES[name][2] for name in names}}, share)
        return
    import parsl
    from parsl.providers import LocalProvider
    from parsl_context import ContextExecutor

    levels = os.environ.get("FAITHFUL_LEVELS", ",".join(LEVELS)).split(",")
    executors = {level: _executor(ContextExecutor, LocalProvider, level) for level in levels}
    run_dir = os.environ["FAITHFUL_OUT"] + f".{share}.runinfo"
    values = {}
    config = parsl.Config(executors=list(executors.values()), run_dir=run_dir, strategy="none", usage_tracking=0)
    with parsl.load(config):
        for level, executor in executors.items():
            _now["level"] = level
            values[level] = {}
            for name in names:
                if level == "app":
                    if not getattr(PROBES[name][0], "needs_context", True):
                        values[level][name] = value_of(name, _ordinary)
                    continue
                made_here = []
                values[level][name] = value_of(name, lambda *words, made=made_here: _app(made, *words))
                if level != "memory":
                    for each in made_here:  # each keeps a process of its own
                        _evict(executor, each)
        _now["level"] = None
    write(values, share)


def _executor(kind, provider, label):
    """One worker, which has seen no other level."""
    options = {}
    if os.environ.get("FAITHFUL_HIDDEN"):
        from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

        hide = 'mount -t tmpfs none "$FAITHFUL_HIDDEN" && exec "$@"'
        unshare = "unshare -m" if os.getuid() == 0 else "unshare -rm"
        options["launch_cmd"] = f"{unshare} sh -c '{hide}' sh {DEFAULT_LAUNCH_CMD}"
    return kind(
        **options,
        label=label,
        address="127.0.0.1",
        max_workers_per_node=1,
        cores_per_worker=0.1,
        provider=provider(init_blocks=1, min_blocks=1, max_blocks=1),
    )


def value_of(name, make_app):
    run, after, _ = PROBES[name]
    try:
        value = run(make_app)
    except Exception as error:
        value = error.__cause__ if type(error).__name__ == "ContextBuildError" and error.__cause__ else error
    try:
        value = after(value) if after is not None else value
    except Exception as error:
        return ["the check in the script raised", _said(error), _said(value)]
    return _said(value) if isinstance(value, BaseException) else value


def write(values, share=0):
    path = f"{os.environ['FAITHFUL_OUT']}.{share}.json"
    with open(path, "w") as file:
        json.dump(values, file, indent=1, default=repr)


def _said(value):
    if not isinstance(value, BaseException):
        return repr(value)[:300]
    if os.environ.get("FAITHFUL_TRACE"):
        traceback.print_exception(type(value), value, value.__traceback__)
    return ["raised", type(value).__name__, str(value)[:600]]


def _plain(body, build=nothing, *context):
    return lambda *args: body(_built(build, context), *args)


def _built(build, args):
    value = build(*args)
    return next(value) if hasattr(value, "__next__") else value


def _app(made, body, build=nothing, *args):
    from parsl_context import context, context_app

    spec = context(**LEVELS[_now["level"]])(build)(*args)
    made.append(spec)
    app = context_app(context=spec, executors=[_now["level"]])(body)
    return lambda *call: app(*call).result(timeout=TIMEOUT_S)


def _ordinary(body, build=nothing, *args):
    """An app that has no context."""
    import parsl

    app = parsl.python_app(body, executors=["app"])
    return lambda *call: app(None, *call).result(timeout=TIMEOUT_S)


def _evict(executor, spec):
    try:
        executor.evict(spec)
    except Exception:
        pass
