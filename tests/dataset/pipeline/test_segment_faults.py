"""A job whose object store fails all the time ends with the result of an undisturbed one, or with a sentence."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.dataset import layout
from services.dataset.manifest import read_segments
from services.dataset.pipeline.segment import segment
from services.runtime.jobs import JobContext
from services.runtime.store import ObjectStore, StoreUnavailable, open_store
from tests.fault_proxy import Fault, FaultProxy
from tests.servers import s3_address, s3_server
from timbre.demo.speech import Span

FOLDER = "datasets/voice"
KNOBS = {"min_duration_seconds": 7.0, "max_duration_seconds": 12.0, "vad_threshold_db": -40.0}
FAULTS = (
    Fault("reset", after=100_000),
    Fault("busy"),
    Fault("stall", after=20_000),
    Fault("reset", after=50_000, upward=True),
    Fault("flip", after=150_000),
    Fault("stall", after=1000, upward=True),
    Fault("slow", rate=1e6),
)


@pytest.fixture(scope="module", params=["moto", "nanio"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of each S3 server in turn."""
    with s3_server(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@contextmanager
def trouble(proxy: FaultProxy, every_seconds: float) -> Iterator[Callable[[], int]]:
    """Injects one fault after the other; yields what tells how many were taken."""
    done = threading.Event()
    injected = 0

    def hurt() -> None:
        nonlocal injected
        for fault in itertools.cycle(FAULTS):
            if done.wait(every_seconds):
                return
            if not proxy.left:
                proxy.inject(fault)
                injected += 1

    thread = threading.Thread(target=hurt)
    thread.start()
    try:
        yield lambda: injected - proxy.left
    finally:
        done.set()
        thread.join()


def content(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list(f"{FOLDER}/segments/")}


def test_segmenting_ends_right_whatever_the_network_does(
    port: int, store: ObjectStore, job: Callable[..., JobContext], recording: tuple[Path, list[Span]]
) -> None:
    address = s3_address("", port)
    direct = address.open()
    for one in (store, direct):
        for name in "abcd":
            one.put(layout.recording_key(FOLDER, name), recording[0])
    expected = segment(job("dataset.segment", **KNOBS), store, 1)
    with FaultProxy(port) as proxy:
        url = address.url.replace(f":{port}", f":{proxy.port}") + "&timeout=1"
        faulty = open_store(url, address.credentials, patient=True)
        with trouble(proxy, 0.1) as taken:
            result = segment(job("dataset.segment", **KNOBS), faulty, 1)
        assert taken() >= 5
    assert result == expected
    assert content(direct) == content(store)
    rows = [[replace(row, fingerprint="") for row in read_segments(one, FOLDER)] for one in (direct, store)]
    assert rows[0] == rows[1]
    assert list(direct.list(f"{FOLDER}/work/")) == []


def test_a_store_that_goes_away_ends_the_job_in_a_sentence_and_the_next_attempt_continues(
    port: int, store: ObjectStore, job: Callable[..., JobContext], recording: tuple[Path, list[Span]]
) -> None:
    address = s3_address("", port)
    direct = address.open()
    for one in (store, direct):
        for name in "ab":
            one.put(layout.recording_key(FOLDER, name), recording[0])
    segment(job("dataset.segment", **KNOBS), store, 1)
    with FaultProxy(port) as proxy:
        url = address.url.replace(f":{port}", f":{proxy.port}") + "&timeout=1"
        impatient = open_store(url, address.credentials)
        proxy.inject(*[Fault("reset", after=200_000)] * 3, *[Fault("reset", after=100)] * 100)
        with pytest.raises(StoreUnavailable, match="try again later"):
            segment(job("dataset.segment", **KNOBS), impatient, 1)
        proxy.heal()
        assert content(direct).items() <= content(store).items()
        segment(job("dataset.segment", **KNOBS), impatient, 1)
    assert content(direct) == content(store)
