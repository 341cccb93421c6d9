"""An engine of an endpoint in this process, and an executor of the SDK on it: no broker, no web service.

Functions and arguments are serialized, packed and run as they are on an endpoint.
"""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Result, Task
from globus_compute_sdk import Executor
from globus_compute_sdk.errors import TaskExecutionFailed
from globus_compute_sdk.sdk import executor as sdk_executor
from globus_compute_sdk.sdk.client import Client, FunctionRegistrationData
from globus_compute_sdk.serialize import ComputeSerializer


def offline_executor(engine: Any, **options: Any) -> Executor:
    """An executor of the SDK whose tasks an engine in this process runs.

    Parameters
    ----------
    engine
        Of `globus_compute_endpoint.engines`, started.
    **options
        Of `globus_compute_sdk.Executor`.
    """
    options.setdefault("task_group_id", uuid.uuid4())  # or all executors of this process share one
    return _OfflineExecutor(client=OfflineClient(engine), endpoint_id=uuid.uuid4(), **options)


class OfflineClient:
    """What an executor of the SDK needs of its client.

    Attributes
    ----------
    functions : dict
        What was registered, by id.
    """

    create_batch = Client.create_batch

    def __init__(self, engine: Any) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        self.fx_serializer = ComputeSerializer()
        self.results: dict[str, Any] = {}
        self.arrived = threading.Condition()
        self._engine = engine

    def register_function(self, function: Any, **options: Any) -> str:
        """Take a function, as text."""
        told = FunctionRegistrationData(function=function, serializer=self.fx_serializer, **options)
        function_id = str(uuid.uuid4())
        self.functions[function_id] = json.loads(json.dumps(told.to_dict()))
        return function_id

    def batch_run(self, endpoint_id: Any, batch: Any) -> dict[str, Any]:
        """Have tasks run."""
        told = json.loads(json.dumps(batch.prepare()))
        made = {
            function_id: [self._submit(function_id, payload, told) for payload in payloads]
            for function_id, payloads in told["tasks"].items()
        }
        return {
            "tasks": made,
            "task_group_id": told.get("task_group_id") or str(uuid.uuid4()),
            "request_id": str(uuid.uuid4()),
            "endpoint_id": str(endpoint_id),
        }

    def _submit(self, function_id: str, payload: str, told: dict[str, Any]) -> str:
        from globus_compute_endpoint.engines import GCFuture

        task_id = uuid.uuid4()
        code = self.fx_serializer.unpack_buffers(self.functions[function_id]["function_code"])[0]
        args, kwargs = self.fx_serializer.unpack_buffers(payload)
        buffer = self.fx_serializer.pack_buffers([code, args, kwargs])
        future = GCFuture(task_id, function_id=function_id)
        future.add_done_callback(self._take)
        packed = messagepack.pack(Task(task_id=task_id, task_buffer=buffer))
        resources, serializers = told.get("resource_specification") or {}, told.get("result_serializers") or []
        self._engine.submit(future, packed, resources, serializers)
        return str(task_id)

    def _take(self, future: Any) -> None:
        result = messagepack.unpack(future.result())
        assert isinstance(result, Result)
        with self.arrived:
            self.results[str(result.task_id)] = result
            self.arrived.notify_all()

    def _log_version_mismatch(self, details: Any) -> None:
        """There is one version here."""


class _Watcher(threading.Thread):
    """What an executor of the SDK needs of its watcher of results, which listens to a broker."""

    class ShuttingDownError(Exception):
        """As of the SDK."""

    def __init__(self, group: Any, client: OfflineClient) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._open: dict[str, Any] = {}
        self._is_ending = False
        sdk_executor._RESULT_WATCHERS[group] = self

    def watch_for_task_results(self, executor: Any, futures: list[Any]) -> None:
        """Look for the results of more tasks."""
        with self._client.arrived:
            self._open.update({future.task_id: future for future in futures})
            self._client.arrived.notify_all()

    def get_open_futures(self, executor: Any = None) -> dict[str, Any]:
        """Those without results."""
        return dict(self._open)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End."""
        with self._client.arrived:
            self._is_ending = True
            self._client.arrived.notify_all()
        if wait:
            self.join(10)

    def run(self) -> None:
        arrived, results = self._client.arrived, self._client.results
        while True:
            with arrived:
                arrived.wait_for(lambda: self._is_ending or any(each in results for each in self._open))
                if self._is_ending:
                    return
                found = [(self._open.pop(each), results.pop(each)) for each in list(self._open) if each in results]
            for future, result in found:
                if result.is_error:
                    future.set_exception(TaskExecutionFailed(result.data))
                else:
                    future.set_result(self._client.fx_serializer.deserialize(result.data))


class _OfflineExecutor(Executor):  # type: ignore[misc]
    def _get_result_watcher(self) -> Any:
        found = sdk_executor._RESULT_WATCHERS.get(self.task_group_id)
        if found is None or not found.is_alive():
            found = _Watcher(self.task_group_id, self.client)
            found.start()
        return found
