"""A loopback server in the place of Globus Compute's web service: five of its routes, and the way of results.

The SDK and the endpoint are the real ones. They find this service by the client and the credentials that it makes.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import uuid
from collections import Counter
from typing import Any

import globus_sdk
import pika
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Task
from globus_compute_sdk import Client, Executor
from globus_compute_sdk.sdk.client import _ComputeWebClient
from globus_compute_sdk.serialize import ComputeSerializer, PureSourceTextInspect

_MAX_BYTES = 10 * 1000 * 1000  # of a task, as the real service


class LocalService:
    """Takes functions and tasks from the SDK, hands tasks to the endpoint, and results back.

    Parameters
    ----------
    amqp_url
        Of the broker.

    Attributes
    ----------
    endpoint_id : str
        Of the one endpoint that it knows.
    requests : Counter
        How often each route was asked for, as ("POST", "/v3/functions").
    functions : dict
        What was registered, by id.
    submissions : list
        Bodies of requests with tasks, without the tasks themselves.
    """

    def __init__(self, amqp_url: str) -> None:
        self.endpoint_id = str(uuid.uuid4())
        self.requests: Counter[tuple[str, str]] = Counter()
        self.functions: dict[str, dict[str, Any]] = {}
        self.submissions: list[dict[str, Any]] = []
        self._amqp_url = amqp_url
        self._tag = uuid.uuid4().hex[:8]
        self._groups: dict[str, str] = {}  # of tasks
        self._serializer = ComputeSerializer()
        self._lock = threading.Lock()
        self._connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._channel = self._connection.channel()
        self._names = {kind: f"{kind}{self._tag}" for kind in ("tasks", "results", "heartbeats")}
        for name in self._names.values():
            self._channel.exchange_declare(name, "direct")
            self._channel.queue_declare(name)
            self._channel.queue_bind(name, name, routing_key=name)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._results = pika.BlockingConnection(pika.URLParameters(amqp_url))
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True),
            threading.Thread(target=self._route_results, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def client(self, **options: Any) -> Client:
        """A client of the SDK that asks this service, and nobody to log in."""
        made = Client(do_version_check=False, authorizer=globus_sdk.NullAuthorizer(), **options)
        made._compute_web_client = _ComputeWebClient(base_url=self.url, authorizer=globus_sdk.NullAuthorizer())
        return made

    def executor(self, **options: Any) -> Executor:
        """An executor of the SDK on the endpoint."""
        options.setdefault("client", self.client())
        options.setdefault("task_group_id", uuid.uuid4())  # or all executors of this process share one
        # The SDK spares the real service, and holds back requests that follow each other closely.
        options.setdefault("api_burst_limit", 8)
        options.setdefault("api_burst_window_s", 1)
        return Executor(endpoint_id=self.endpoint_id, **options)

    def credentials(self) -> dict[str, Any]:
        """What the endpoint is told at its start."""
        url = self._amqp_url

        def outgoing(name: str) -> dict[str, Any]:
            publish = {"exchange": name, "routing_key": name, "mandatory": True}
            return {"connection_url": url, "exchange": name, "queue": name, "queue_publish_kwargs": publish}

        tasks = self._names["tasks"]
        return {
            "endpoint_id": self.endpoint_id,
            "task_queue_info": {"connection_url": url, "exchange": tasks, "queue": tasks},
            "result_queue_info": outgoing(self._names["results"]),
            "heartbeat_queue_info": outgoing(self._names["heartbeats"]),
        }

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._results.add_callback_threadsafe(self._results.close)
        for thread in self._threads:
            thread.join(10)
        with contextlib.suppress(Exception):
            self._connection.close()

    def __enter__(self) -> LocalService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- routes

    def get(self, path: str) -> dict[str, Any] | None:
        """Answer a question."""
        if path.startswith("/v2/version"):
            return {"api": "0", "min_ep_version": "0.0.0", "min_sdk_version": "0.0.0"}
        if path.startswith("/v2/get_amqp"):
            return {"queue_prefix": f"{self._tag}.", "connection_url": self._amqp_url}
        return None

    def post(self, path: str, told: dict[str, Any]) -> dict[str, Any] | None:
        """Take a function, or tasks."""
        if path == "/v3/functions":
            function_id = str(uuid.uuid4())
            self.functions[function_id] = told
            return {"function_uuid": function_id}
        return self._submit(told) if path.endswith("/submit") else None

    def _submit(self, told: dict[str, Any]) -> dict[str, Any]:
        group = told.get("task_group_id") or str(uuid.uuid4())
        self.submissions.append({key: value for key, value in told.items() if key != "tasks"})
        made: dict[str, list[str]] = {}
        with self._lock:
            self._channel.queue_declare(f"{self._tag}.{group}")
            for function_id, payloads in told["tasks"].items():
                code = self._code_of(self.functions[function_id])
                made[function_id] = [self._send(function_id, code, payload, group, told) for payload in payloads]
        return {
            "tasks": made,
            "task_group_id": group,
            "request_id": str(uuid.uuid4()),
            "endpoint_id": self.endpoint_id,
        }

    def _code_of(self, function: dict[str, Any]) -> str:
        if function["serialized"]:
            return str(self._serializer.unpack_buffers(function["function_code"])[0])
        return f"{PureSourceTextInspect.identifier}{function['function_name']}:{function['function_code']}"

    def _send(self, function_id: str, code: str, payload: str, group: str, told: dict[str, Any]) -> str:
        task_id = str(uuid.uuid4())
        self._groups[task_id] = group
        args, kwargs = self._serializer.unpack_buffers(payload)
        task = Task(task_id=task_id, task_buffer=self._serializer.pack_buffers([code, args, kwargs]))
        headers: dict[str, Any] = {"function_uuid": function_id, "task_uuid": task_id}
        if told.get("resource_specification"):
            headers["resource_specification"] = json.dumps(told["resource_specification"])
        if told.get("result_serializers"):
            headers["result_serializers"] = told["result_serializers"]
        name = self._names["tasks"]
        self._channel.basic_publish(name, name, messagepack.pack(task), pika.BasicProperties(headers=headers))
        return task_id

    def _route_results(self) -> None:
        channel = self._results.channel()

        def pass_on(channel: Any, method: Any, _: Any, body: bytes) -> None:
            task_id = str(messagepack.unpack(body).task_id)
            channel.basic_publish("", f"{self._tag}.{self._groups[task_id]}", body)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume(self._names["results"], pass_on)
        with contextlib.suppress(pika.exceptions.AMQPError):
            channel.start_consuming()


def _handler_of(service: LocalService) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._reply(service.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) > _MAX_BYTES:
                self._reply({"error": f"a request of {len(body)} bytes"}, 413)
            else:
                self._reply(service.post(self.path, json.loads(body)))

        def _reply(self, answer: dict[str, Any] | None, status: int = 200) -> None:
            service.requests[self.command, self.path.partition("?")[0]] += 1
            body = json.dumps({"error": self.path} if answer is None else answer).encode()
            self.send_response(404 if answer is None else status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
