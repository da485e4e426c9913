"""A Ray cluster for the tests of a file: nodes that do nothing take a tenth of a core all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray.cluster import Cluster, may_unshare, ray_cluster

WORKERS = Path(__file__).parents[1] / "runtime" / "jobs"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that works on nothing and a node `one` with two cores; the job API is not reachable yet."""
    if not may_unshare():
        pytest.skip("a Ray cluster is tested in namespaces of its own, which this user may not make")
    with ray_cluster(str(WORKERS)) as cluster:
        cluster.start_head()
        with cluster.reachable():
            cluster.wait_for("head")
            cluster.start_node("one", 52400, cpus=2)
            cluster.wait_for("one")
        yield cluster
