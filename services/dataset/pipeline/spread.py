"""Segmentation and transcription spread over a cluster, in units that any node can do with the object store alone.

recordings ─ one each ──▶ a node: fetch (kept for the next unit) ─▶ plan ─▶ the job, which numbers the segments
           ─ batches ───▶ a node: write segments to the store ───▶ their facts ─▶ the job, which keeps them
segments   ─ batches ───▶ a node: fetch, Whisper (loaded once a process) ─▶ transcripts ─▶ the job, which keeps them
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.dataset import layout
from services.dataset.pipeline.segment import Cutters, plan_recording, write_batch
from services.dataset.segment import Cut, SegmentOptions
from services.dataset.settings import DatasetSettings
from services.dataset.transcribe import language_code
from services.dataset.whisper_models import resolve_whisper
from services.dataset.whisper_worker import Transcript, TranscriptionFailed, transcribe_file
from services.runtime.node_cache import NodeCache
from services.runtime.processes import map_bounded
from services.runtime.settings import RayResources
from services.runtime.store import ObjectNotFound, ObjectStore, open_store

if TYPE_CHECKING:
    from whisper import Whisper

# Segments a batch: some ten seconds of work on a core, beside which the tens of milliseconds of a task do not count.
_BATCH = 8

# Recordings that a node keeps, for the units that write their segments after they were planned: some 50 hours.
_RECORDINGS_BYTES = 8 << 30


@contextmanager
def cut_on_cluster(settings: DatasetSettings, folder: str) -> Iterator[Cutters]:
    """Has the nodes of the cluster cut recordings, who put the segments into the store themselves.

    Args:
        settings: How many units are under way at once, and what each reserves.
        folder: The dataset.

    Raises:
        ClusterUnavailable: This process is not part of a cluster.
    """
    from services.runtime.ray_pool import ray_pool

    with ray_pool(settings.ray_resources.get("unit", RayResources())) as pool:
        yield Cutters(
            pool,
            settings.ray_units,
            find=lambda source: (folder, source),
            plan=plan_on_node,
            write=write_on_node,
            target=str,
            keep=lambda _key: None,
        )


def plan_on_node(folder: str, source: str, options: SegmentOptions) -> dict[str, Any]:
    """Plans a recording: see `plan_recording`; runs on any node, which finds the store by its environment."""
    with _recording(*_place(), folder, source) as wav:
        return plan_recording(str(wav), options)


def write_on_node(folder: str, source: str, cuts: Sequence[tuple[Cut, str]]) -> dict[str, Any]:
    """Writes segments of a recording to the store, by key: see `write_batch`; runs on any node."""
    settings, store = _place()
    with _recording(settings, store, folder, source) as wav, tempfile.TemporaryDirectory(prefix="timbre-unit-") as scratch:
        files = {key: Path(scratch) / Path(key).name for _, key in cuts}
        made = write_batch(str(wav), [(cut, str(files[key])) for cut, key in cuts])
        for key, file in files.items():
            store.put(key, file, "audio/wav")
    return made


@contextmanager
def _recording(settings: DatasetSettings, store: ObjectStore, folder: str, source: str) -> Iterator[Path]:
    key = layout.recording_key(folder, source)
    info = store.stat(key)
    if info is None:
        raise ObjectNotFound(key)
    with NodeCache(settings.models_dir / "recordings", _RECORDINGS_BYTES).hold_object(store, info) as wav:
        yield wav


def _place() -> tuple[DatasetSettings, ObjectStore]:
    settings = DatasetSettings()
    return settings, open_store(settings.storage_url, settings.s3_credentials, patient=True)


def hear_on_cluster(
    settings: DatasetSettings, folder: str, names: Sequence[str], *, model: str, language: str
) -> Generator[tuple[str, Transcript | TranscriptionFailed], None, None]:
    """Transcribes segments on the nodes of the cluster and hands each on when its batch is done.

    Args:
        settings: How many units are under way at once, and what each reserves.
        folder: The dataset.
        names: Ids of segments.
        model: A name that `resolve_whisper` knows, or a path that is there on every node.
        language: Spoken language.

    Yields:
        Each id with its transcript, or with why there is none.

    Raises:
        InvalidArgument: The language is unknown.
        ClusterUnavailable: This process is not part of a cluster.
        PoolBroken: A unit's workers died too often.
    """
    from services.runtime.ray_pool import ray_pool

    code = language_code(language)
    resources = settings.ray_resources.get("unit", RayResources())
    batches = [names[first : first + _BATCH] for first in range(0, len(names), _BATCH)]
    tasks = ((batch, (folder, batch, model, code, max(1, int(resources.cpus)))) for batch in batches)
    with ray_pool(resources) as pool:
        for _, heard in map_bounded(pool, hear_batch, tasks, settings.ray_units):
            yield from heard


def hear_batch(
    folder: str, names: Sequence[str], model: str, language: str, threads: int
) -> list[tuple[str, Transcript | TranscriptionFailed]]:
    """Transcribes some segments; runs on any node, which finds the store by its environment."""
    settings, store = _place()
    whisper = _load(model, settings.models_dir, threads)
    heard = []
    with tempfile.TemporaryDirectory(prefix="timbre-unit-") as scratch:
        for name in names:
            path = Path(scratch) / f"{name}.wav"
            store.fetch(layout.segment_key(folder, name), path)
            heard.append((name, transcribe_file(whisper, path, language)))
            path.unlink()
    return heard


@lru_cache(maxsize=1)
def _load(model: str, models: Path, threads: int) -> Whisper:
    """Loads a model; the processes of a cluster are used again, and find it loaded."""
    import torch
    import whisper

    torch.set_num_threads(threads)
    return whisper.load_model(str(resolve_whisper(model, models)), device="cuda" if torch.cuda.is_available() else "cpu")
