"""`GlobusContextExecutor`: Parsl's executor for Globus Compute, which knows context apps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from globus_compute_sdk import Executor
from parsl.data_provider.staging import Staging
from parsl.executors import GlobusComputeExecutor

from parsl_context.apps.app import ContextApp
from parsl_context.apps.context_call import ContextCall
from parsl_context.apps.needs import needs_of
from parsl_context.apps.standalone import MAX_CONTEXTS, standalone_function
from parsl_context.executor.wrappers import Layers
from parsl_context.globus.outcomes import GlobusFuture
from parsl_context.retain.calls import RESULTS
from parsl_context.standalone.carried import short_digest
from parsl_context.standalone.function import KEY_MARK, TOLD, StandaloneFunction


class GlobusContextExecutor(GlobusComputeExecutor):
    """Runs apps on a Globus Compute endpoint, where each worker keeps the contexts of context apps.

    Nothing of ours is needed there: a context app travels as one function (`ContextApp.as_globus_function`), which is
    registered once. Results and exceptions are objects of the script's own classes, and exceptions carry their remote
    traceback. Other apps run as with `GlobusComputeExecutor`.

    Parameters
    ----------
    executor, label, storage_access, working_dir
        As of `GlobusComputeExecutor`.
    function_ids : mapping, optional
        Ids of functions that are registered already, by app: for endpoints that allow certain functions only. Register
        ``app.as_globus_function()``, and have the endpoint allow its id.
    requirements : str, optional
        Variable of the endpoint's template that takes lines for pip, as the default template's ``"requirements"``:
        those of the app (`ContextApp.requirements`) are given there. Apps with other requirements get another endpoint
        process, whose contexts are cold.
    max_contexts : int
        Contexts that one worker process keeps.
    """

    def __init__(
        self,
        executor: Executor,
        label: str = "GlobusContextExecutor",
        storage_access: list[Staging] | None = None,
        working_dir: str | None = None,
        *,
        function_ids: Mapping[ContextApp, str] | None = None,
        requirements: str | None = None,
        max_contexts: int = MAX_CONTEXTS,
    ) -> None:
        super().__init__(executor, label=label, storage_access=storage_access, working_dir=working_dir)
        self.function_ids = function_ids
        self.requirements = requirements
        self.max_contexts = max_contexts
        self._functions: dict[tuple[int, ...], tuple[ContextCall, StandaloneFunction]] = {}
        self._lines: dict[str, str] = {}  # for pip, by the digest of a function
        for app, function_id in (function_ids or {}).items():
            executor.register_function(self._function_of(app.func), function_id)

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run a function, or the `func` of a context app, on a worker of the endpoint.

        Raises
        ------
        ConfigurationError, CarriedCodeError, ContextSerializationError
            If a context app cannot travel as one function.
        """
        found = Layers(func).call
        if found is None or not found.is_direct:
            return super().submit(func, resource_specification, *args, **kwargs)
        call = found.call
        if call.late:
            call, args, kwargs = call.settled(args, kwargs)
        function = self._function_of(call)
        kwargs[TOLD] = _told(call, args, kwargs)
        resources = self._resources(call, function, resource_specification)
        return GlobusFuture(super().submit(function, resources, *args, **kwargs), function.definitions)

    def _function_of(self, call: ContextCall) -> StandaloneFunction:
        """The function of a call; the same object each time, because the SDK registers each object by itself."""
        key = (id(call.body), *map(id, call.contexts))
        found = self._functions.get(key)
        if found is None:
            function = standalone_function(call, max_contexts=self.max_contexts)
            found = self._functions[key] = (call, function)  # the call has to live, or others get its ids
        return found[1]

    def _resources(
        self, call: ContextCall, function: StandaloneFunction, given: dict[str, Any] | None
    ) -> dict[str, Any]:
        """The resource specification, from which Parsl takes the endpoint's configuration."""
        resources: dict[str, Any] = copy.deepcopy(given or self.resource_specification or {})
        if self.requirements is None:
            return resources
        if function.digest not in self._lines:
            self._lines[function.digest] = "\n".join(needs_of(call).requirements)
        lines = self._lines[function.digest]
        config = {**(resources.get("user_endpoint_config") or self.user_endpoint_config or {})}
        if lines:
            config.setdefault(self.requirements, lines)
        return {**resources, "user_endpoint_config": config}


def _told(call: ContextCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a call says besides its arguments; see `standalone.runtime.programs`."""
    told: dict[str, Any] = {}
    if call.chunked:
        told["chunk"] = RESULTS
    if call.keys is not None and call.keys.names:  # files that a context reads are looked at there
        # An endpoint that runs our executor looks for it; the function itself, on any endpoint, does not.
        digests = [context.digest for context in _settled(call, args, kwargs).known]
        told["key"] = f"{KEY_MARK} {short_digest(*map(str.encode, digests))}"
    if call.walltime_s is not None:
        told["walltime_s"] = call.walltime_s
    return told


def _settled(call: ContextCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ContextCall:
    """The call with the contexts that its keys ask for; in a chunk all calls have the same."""
    return call.settled(() if call.chunked else args, kwargs)[0]
