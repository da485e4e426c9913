"""What a process measures of itself, and where that goes: nowhere, at no cost, until `start` opens a listener for Prometheus.

Everybody may call `observe`. The library behind it is loaded by `start` alone, and only when a listener is asked for.
Worker processes measure nothing: how their jobs stand is in the database, and a service reads it there when it is asked
(`services.runtime.jobs.figures`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.runtime.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from services.runtime.metrics import Metrics

_metrics: Metrics | None = None


def start(listen: str) -> None:
    """Serves this process's metrics from now on, on a thread of their own; does nothing without an address.

    Call this before stores and databases are opened, so that they are measured.

    Args:
        listen: `host:port`; port 0 takes a free one. Empty: nothing is measured.

    Raises:
        InvalidArgument: The address is none.
        Unavailable: It cannot be bound.
    """
    global _metrics  # a process has one listener
    if not listen:
        return
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidArgument(f"TIMBRE_METRICS_LISTEN is {listen!r}: it must be like 127.0.0.1:9464.")
    from services.runtime.metrics import Metrics

    try:
        _metrics = Metrics(host.strip("[]"), int(port))
    except OSError as error:
        raise Unavailable(f"Cannot listen on {listen} for metrics: the port may be taken, choose another one.") from error


def stop() -> None:
    """Closes the listener; nothing is measured any more."""
    global _metrics
    if _metrics is not None:
        _metrics.close()
    _metrics = None


def port() -> int | None:
    """Returns the port that metrics are served on; None when they are not."""
    return None if _metrics is None else _metrics.port


def measuring() -> bool:
    """Whether anything that is observed goes anywhere."""
    return _metrics is not None


def observe(histogram: str, value: float, *labels: str) -> None:
    """Adds a figure to one of the histograms of `services.runtime.metrics`.

    Args:
        histogram: Its name.
        value: Seconds, or what else the histogram counts.
        labels: Values of its labels, in their order; never what a caller can choose freely.
    """
    if _metrics is not None:
        _metrics.observe(histogram, value, labels)


@contextmanager
def timed(histogram: str, *labels: str) -> Iterator[None]:
    """Observes how long the block takes, whether it succeeds or not."""
    began = time.perf_counter()
    try:
        yield
    finally:
        observe(histogram, time.perf_counter() - began, *labels)


def gauge(name: str, description: str, read: Callable[[], float]) -> None:
    """Adds a figure that is read whenever somebody asks."""
    if _metrics is not None:
        _metrics.gauge(name, description, read)


def collect(collector: Collector) -> None:
    """Adds what tells several figures at once whenever somebody asks."""
    if _metrics is not None:
        _metrics.registry.register(collector)
