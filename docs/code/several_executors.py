"""Two kinds of nodes in one configuration, for docs/how-to/several-executors.rst.
Prints where the calls ran."""

import os

import parsl
from parsl.providers import LocalProvider

from parsl_context import ContextExecutor, context, context_app


@context
def device():
    return os.environ.get("CUDA_VISIBLE_DEVICES", "no device")


@context_app(context=device(), executors=["gpu"])
def infer(device, image):
    return f"{image} on device {device}"


@context_app(context=device(), executors=["cpu"])
def prepare(device, image):
    return f"{image} with {device}"


def nodes():
    """Stands for a SlurmProvider of each partition."""
    return LocalProvider(init_blocks=1, max_blocks=1)


if __name__ == "__main__":
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    config = parsl.Config(
        executors=[
            ContextExecutor(
                label="gpu",
                available_accelerators=["3"],
                cores_per_worker=0.1,
                provider=nodes(),
            ),
            ContextExecutor(label="cpu", max_workers_per_node=1, provider=nodes()),
        ],
        strategy_period=0.5,
    )
    with parsl.load(config):
        print(prepare("a.png").result())
        print(infer("a.png").result())
