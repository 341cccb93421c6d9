"""Globus Compute on this machine alone: no account, no network, and yet the real SDK, endpoint and Parsl.

    from parsl_context.testing.globus import Broker, LocalEndpoint, LocalService

    with Broker() as broker, LocalService(broker.url) as service, LocalEndpoint(service, folder) as endpoint:
        with service.executor() as executor:               # a globus_compute_sdk.Executor
            executor.submit(app.as_globus_function(), 1).result()

What stands in for something is the web service (`service`), whose place a loopback server takes, and its broker, which
is a RabbitMQ of this machine. `offline` runs an engine in this process instead, without a broker. They need
globus-compute-sdk; endpoints need globus-compute-endpoint where their Python is, and brokers RabbitMQ.
"""

from parsl_context.testing.globus.broker import Broker
from parsl_context.testing.globus.endpoint import LocalEndpoint
from parsl_context.testing.globus.offline import offline_executor
from parsl_context.testing.globus.service import LocalService

__all__ = ["Broker", "LocalEndpoint", "LocalService", "offline_executor"]
