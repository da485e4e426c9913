"""Work spread over the nodes of a Ray cluster, behind the same interface as a pool of processes; needs to run in a Ray job."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from typing import Any, TypeVar

from services.runtime.errors import Unavailable
from services.runtime.settings import RayResources

Result = TypeVar("Result")

# A unit whose node or process died is done again, elsewhere, this often; an error that it raises itself is not retried.
_RETRIES = 3


class ClusterUnavailable(Unavailable):
    """There is no Ray cluster to spread work over."""


@contextmanager
def ray_pool(resources: RayResources) -> Iterator[Executor]:
    """A pool whose workers are wherever the cluster has room; when the block is left, what has not finished is dropped.

    Args:
        resources: What one call reserves.

    Raises:
        ClusterUnavailable: This process is not part of a cluster.
    """
    with in_cluster():
        pool = _RayPool(resources)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def in_cluster() -> Iterator[None]:
    """Makes this process, a Ray job, part of its cluster; when the block is left, all that it started there ends.

    Raises:
        ClusterUnavailable: This process is not part of a cluster.
    """
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterUnavailable("No Ray cluster can be reached from this worker: set TIMBRE_RUNNER=ray too.") from error
    signal.signal(signal.SIGTERM, before)  # Ray would end the process at once, and the job wants to save
    try:
        yield
    finally:
        ray.shutdown()


class _RayPool(Executor):
    """Calls as Ray tasks. See `ray_pool`."""

    def __init__(self, resources: RayResources) -> None:
        self._options = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "memory": resources.memory_bytes or None,
            "resources": resources.custom or None,
            "max_retries": _RETRIES,
            "scheduling_strategy": "SPREAD",  # by itself Ray fills one node before it takes the next
        }
        self._remote: dict[Callable[..., Any], Any] = {}
        self._open: set[Any] = set()

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        """Submits a task; the future fails with `BrokenExecutor` when its workers died too often."""
        import ray

        if function not in self._remote:
            self._remote[function] = ray.remote(function).options(**self._options)
        reference = self._remote[function].remote(*arguments, **named)
        self._open.add(reference)
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()

        def settle(inner: Future[Result]) -> None:
            self._open.discard(reference)
            error = inner.exception()
            if error is None:
                future.set_result(inner.result())
            elif isinstance(error, ray.exceptions.RayTaskError):
                future.set_exception(error.cause)
            else:
                future.set_exception(BrokenExecutor(str(error)))

        reference.future().add_done_callback(settle)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - there is nothing to join
        """Drops what is under way, if asked to."""
        import ray

        if cancel_futures:
            for reference in list(self._open):
                ray.cancel(reference, force=True)
