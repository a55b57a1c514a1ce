"""A Ray cluster of two machines, which are processes of this one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


@contextmanager
def ray_alone() -> Iterator[ModuleType]:
    """Ray, whose processes listen to no other machine and ask none."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home,
    ):
        patch.setenv("RAY_TMPDIR", home)  # short, as the names of sockets must be
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # the address is 127.0.0.1
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("OMP_NUM_THREADS", "2")  # the set-up says one
        import ray

        yield ray


@contextmanager
def two_machines(ray: ModuleType) -> Iterator[Any]:
    """Two machines with a core each."""
    from ray.cluster_utils import Cluster

    common = {"num_cpus": 1, "include_dashboard": False}
    # A machine that is gone refuses each check at once; one that is only busy keeps its place.
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 8}
    made = Cluster(initialize_head=True, head_node_args={**common, "_system_config": quick})
    try:
        made.add_node(**common)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def lose_a_machine(cluster: Any) -> None:
    """End the second machine, with all that it computes."""
    (machine,) = cluster.worker_nodes
    cluster.remove_node(machine, allow_graceful=False)
