"""What does the gateway add to a call? The same question over HTTP and straight over gRPC, one caller, in turns.

Both go to one running Timbre, whose answer (the figures of a dataset) costs next to nothing. Prints the median and the 99th
percentile of each, in milliseconds, and the ratio of the medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc

from timbre.demo.stack import running_stack

CALLS = 1000
FOLDER = "datasets/nothing"


def time_call(call: Callable[[], object]) -> float:
    """Returns how long one call takes, in milliseconds."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def describe(name: str, times: list[float]) -> float:
    """Prints the figures of one way; returns the median."""
    median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{name:<16} median {median:6.2f} ms   p99 {p99:6.2f} ms   {1000 / statistics.mean(times):6.0f} calls/s")
    return median


def main() -> None:
    """Measures both ways in turns, so that whatever else the machine does hits both alike."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running_stack(Path(folder) / "data", log, {"TIMBRE_LOG_LEVEL": "INFO"}) as url:
            while " · gRPC dataset " not in log.read_text():  # the line comes a moment after the first answer
                time.sleep(0.05)
            address = log.read_text().partition(" · gRPC dataset ")[2].partition(",")[0]
            with httpx.Client(base_url=url) as client, grpc.insecure_channel(address) as channel:
                stub = dataset_pb2_grpc.DatasetServiceStub(channel)
                request = dataset_pb2.GetDatasetStatsRequest(folder=FOLDER)
                ways: dict[str, Callable[[], object]] = {
                    "gRPC": lambda: stub.GetDatasetStats(request),
                    "HTTP, gateway": lambda: client.get(
                        "/training/dataset/stats", params={"folder": FOLDER}
                    ).raise_for_status(),
                }
                times: dict[str, list[float]] = {name: [] for name in ways}
                for index in range(CALLS + CALLS // 10):
                    for name, call in ways.items():
                        taken = time_call(call)
                        if index >= CALLS // 10:  # the first tenth warms up
                            times[name].append(taken)
    direct, through = (describe(name, measured) for name, measured in times.items())
    print(f"HTTP through the gateway takes {through / direct:.1f} times as long ({through - direct:.2f} ms more)")


if __name__ == "__main__":
    main()
