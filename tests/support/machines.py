"""A Ray cluster of two machines, which are processes of this one."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest

MACHINE = {"num_cpus": 1, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
"""A machine with a core, whose logs and size nobody watches."""


@contextmanager
def ray_alone(home: str) -> Iterator[ModuleType]:
    """Ray, whose processes listen to no other machine and ask none, and write into a folder with a short name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", home)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # the address is 127.0.0.1
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default 15: beside other tests they would hardly compute
        patch.setenv("OMP_NUM_THREADS", "2")  # the set-up says one
        import ray
        from ray._private import services

        patch.setattr(services, "get_node", partial(_in_time, services.get_node))
        yield ray


def _in_time(get_node: Callable[..., Any], *given: Any) -> Any:
    """Return what Ray knows of a machine, once it does: on a busy one that takes longer than its 30 seconds."""
    until = time.monotonic() + 240
    while True:
        try:
            return get_node(*given)
        except RuntimeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.fixture(scope="session")
def ray_home() -> Iterator[str]:
    """Where Ray writes: names of sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:
        yield home


@pytest.fixture(scope="module")
def ray(ray_home: str) -> Iterator[ModuleType]:
    """Ray, for a file."""
    with ray_alone(ray_home) as ray:
        yield ray


@pytest.fixture(scope="session")
def head(ray_home: str) -> Iterator[Any]:
    """A cluster of one machine, which lasts for all files: it takes ten seconds of a core to start."""
    # A machine that is gone refuses each check at once; one that is only busy keeps its place.
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 8}
    with ray_alone(ray_home):
        from ray.cluster_utils import Cluster

        made = Cluster(initialize_head=True, head_node_args={**MACHINE, "_system_config": quick})
    yield made
    made.shutdown()


@contextmanager
def two_machines(ray: ModuleType, head: Any) -> Iterator[Any]:
    """Give the cluster its second machine, and leave it."""
    if not head.worker_nodes:
        head.add_node(**MACHINE)
    try:
        yield head
    finally:
        ray.shutdown()


def lose_a_machine(cluster: Any) -> None:
    """End the second machine, with all that it computes."""
    (machine,) = cluster.worker_nodes
    cluster.remove_node(machine, allow_graceful=False)
