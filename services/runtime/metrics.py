"""The metrics of a process, served in Prometheus's text format. Loaded only when `telemetry.start` is given an address."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_FACTORS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 5, 10)

# Name: what it says, its labels, upper bounds of its buckets.
_HISTOGRAMS: dict[str, tuple[str, Sequence[str], Sequence[float]]] = {
    "timbre_rpc_seconds": ("How long calls took, streams until their end.", ("method", "code"), _QUICK),
    "timbre_http_seconds": ("How long HTTP requests took, streams until their end.", ("method", "route", "status"), _QUICK),
    "timbre_store_seconds": ("How long calls of the object store took.", ("operation",), _QUICK),
    "timbre_database_seconds": ("How long statements of the database took.", ("operation",), _QUICK),
    "timbre_synthesis_real_time_factor": ("Time a synthesis took for each second of its audio.", (), _FACTORS),
    "timbre_synthesis_first_audio_seconds": ("Time from a call to the first audio of its stream.", (), _QUICK),
}


class Metrics:
    """The figures of this process and the listener that serves them.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.

    Raises:
        OSError: The address cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_GpuMemory())
        self._histograms: dict[str, Histogram] = {}
        self._server, self._thread = start_http_server(port, host, self.registry)
        self.port: int = self._server.server_port

    def observe(self, histogram: str, value: float, labels: Sequence[str]) -> None:
        """Adds a figure to a histogram, which shows from its first figure on."""
        known = self._histograms.get(histogram) or self._add(histogram)
        (known.labels(*labels) if labels else known).observe(value)

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Adds a figure that is read at every scrape."""
        Gauge(name, description, registry=self.registry).set_function(read)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _add(self, name: str) -> Histogram:
        description, labels, buckets = _HISTOGRAMS[name]
        # setdefault: two threads may observe the first figure at once, and both must count on the same histogram
        made = Histogram(name, description, labels, buckets=buckets, registry=None)
        kept = self._histograms.setdefault(name, made)
        if kept is made:
            self.registry.register(made)
        return kept


class _GpuMemory(Collector):
    """Memory in use on each GPU that this process computes on, by whatever process."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        torch = sys.modules.get("torch")  # a process that has not loaded it uses no GPU
        if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
            return
        family = GaugeMetricFamily("timbre_gpu_memory_bytes", "Memory in use on a GPU, by all processes.", labels=["device"])
        for device in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(device)
            family.add_metric([str(device)], total - free)
        yield family
