"""What does a unit of work cost on a Ray cluster, and what does a second worker bring? Beside it stands a pool of processes.

Starts a cluster of its own (a head and two nodes with one core each), which nothing outside can reach, and runs itself there as
a job. The work is the cutting of a recording into segments; of an empty unit, only the overhead is left. A machine with
two free cores shows how the time falls; the cluster itself needs a part of them.

    python benchmarks/ray_units.py [--minutes 8] [--units 8]
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

import httpx

from services.dataset.segment import SegmentOptions, plan_segments, write_segment
from services.runtime.processes import map_bounded, process_pool
from services.runtime.ray_pool import ray_pool
from services.runtime.settings import RayResources
from tests.ray.cluster import may_unshare, ray_cluster
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording

EMPTY_UNITS = 300

# How the lines of the table begin: Ray puts its own between them.
OURS = ("cores", "pool", "processes", "ray ")


def nothing(number: int) -> int:
    """A unit without work."""
    return number


def cut(wav: str) -> int:
    """A unit of work: a recording is planned and its segments are written."""
    cuts = plan_segments(Path(wav), SegmentOptions())
    with tempfile.TemporaryDirectory() as folder:
        for number, piece in enumerate(cuts):
            write_segment(Path(wav), piece, Path(folder) / f"{number}.wav")
    return len(cuts)


def main() -> None:
    """Starts the cluster and runs the measurement on it, or is the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="length of the recording that one unit cuts")
    parser.add_argument("--units", type=int, default=8, help="units with work")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        measure(chosen.inside, chosen.units)
    elif may_unshare():
        start(chosen.minutes, chosen.units)
    else:
        print("skipped: this user may not make the namespaces that keep the cluster off the network")


def start(minutes: float, units: int) -> None:
    """Starts a cluster, submits this script to it, and prints what that prints."""
    with tempfile.TemporaryDirectory() as folder, ray_cluster(str(Path(__file__).parent)) as cluster:
        wav = Path(folder) / "recording.wav"
        sentences = SENTENCES[:15]
        make_recording(wav, sentences * max(1, round(minutes)), pause_seconds=(0.4, 0.7, 1.5, 0.5))
        cluster.start_head()
        with cluster.reachable(), httpx.Client(base_url=cluster.address, trust_env=False, timeout=30) as head:
            cluster.wait_for("head")
            for name, port in (("one", 52400), ("two", 52401)):
                cluster.start_node(name, port)
                cluster.wait_for(name)
            command = shlex.join([sys.executable, str(Path(__file__).resolve()), "--inside", str(wav), "--units", str(units)])
            job = head.post("/api/jobs/", json={"entrypoint": command}).raise_for_status().json()["submission_id"]
            while (state := head.get(f"/api/jobs/{job}").json())["status"] in ("PENDING", "RUNNING"):
                time.sleep(0.5)
            said = head.get(f"/api/jobs/{job}/logs").json()["logs"]
            print("\n".join(line for line in said.splitlines() if line.startswith(OURS)) or said)
            if state["status"] != "SUCCEEDED":
                raise SystemExit(state["message"])


def measure(wav: str, units: int) -> None:
    """Prints the times of both pools."""
    print(f"cores {os.cpu_count()}, units with work {units}, empty ones {EMPTY_UNITS}, load before {os.getloadavg()[0]:.1f}")
    print(f"{'pool':<12}{'workers':>8}{'ms an empty unit':>18}{'s for the work':>16}{'gain':>7}")
    for name in ("processes", "ray"):
        first = 0.0
        for workers in (1, 2):
            with pools(name, 2) as pool:
                list(map_bounded(pool, cut, [(n, (wav,)) for n in range(6)], 2))  # both workers start and import
                empty = seconds(pool, nothing, [(n, (n,)) for n in range(EMPTY_UNITS)], workers)
                work = seconds(pool, cut, [(n, (wav,)) for n in range(units)], workers)
            first = first or work
            print(f"{name:<12}{workers:>8}{1000 * empty / EMPTY_UNITS:>18.2f}{work:>16.2f}{first / work:>6.2f}x", flush=True)


@contextmanager
def pools(name: str, workers: int) -> Iterator[Executor]:
    """Opens one of the two pools; how many units are under way at once says how many workers are busy."""
    with ray_pool(RayResources()) if name == "ray" else process_pool(workers) as pool:
        yield pool


def seconds(pool: Executor, function: object, tasks: list[tuple[int, tuple[object, ...]]], window: int) -> float:
    """Returns how long the tasks take with so many under way at once."""
    began = time.perf_counter()
    done = list(map_bounded(pool, function, tasks, window))  # type: ignore[arg-type]
    assert len(done) == len(tasks)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
