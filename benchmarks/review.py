"""What an editor waits for in a dataset of 10,000 segments: an edit against rewriting the manifest, a page, a preview's knob.

python benchmarks/review.py [segments]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf

from services.dataset import layout, messages
from services.dataset.manifest import Segment, read_page, read_segments, write_segments
from services.dataset.preview import Previews
from services.dataset.review import Change, update_segment
from services.dataset.segment import SegmentOptions
from services.runtime.database import open_database
from services.runtime.jobs import JobQueue
from services.runtime.store import open_store

FOLDER = "datasets/benchmark"
_TEXT = "Este é um texto de exemplo com umas oitenta letras, como as tem um segmento de nove segundos."
_ROUNDS = 20
_MINUTES = 60
_RATE = 22_050


def median_seconds(work: Callable[[int], object]) -> float:
    """Returns the median time of `_ROUNDS` calls."""
    times = []
    for number in range(_ROUNDS):
        began = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def speech_like(path: Path) -> None:
    """Writes an hour of noise with pauses."""
    noise = np.random.default_rng(0)
    with sf.SoundFile(path, "w", _RATE, 1, "PCM_16") as file:
        for minute in range(_MINUTES):
            seconds = noise.uniform(0.0005, 0.2, 60) * (np.arange(60) % (3 + minute % 4) != 0)
            file.write(np.repeat(seconds, _RATE) * noise.standard_normal(60 * _RATE))


def main(count: int) -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store, queue = open_store((root / "objects").as_uri()), JobQueue(open_database(f"sqlite:///{root / 'timbre.db'}"))
        row = Segment("", "interview", 0, 0, 9.0, 396_944, -20.0, 41.5, 0.0, _TEXT, _TEXT, "pt", 0.93, ["low_confidence"])
        rows = [replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9) for n in range(1, count + 1)]
        write_segments(store, FOLDER, rows)

        def edit(number: int) -> None:
            with queue.exclusive(FOLDER):
                update_segment(store, FOLDER, rows[number * 499 % count].id, Change(transcript=f"Texto número {number}."))

        edits = median_seconds(edit)
        rewriting = median_seconds(lambda _: write_segments(store, FOLDER, read_segments(store, FOLDER)))
        page = median_seconds(
            lambda _: [messages.segment(FOLDER, one) for one in read_page(store, FOLDER, offset=0, limit=count)[2]]
        )
        speech_like(root / "hour.wav")
        store.put(layout.recording_key(FOLDER, "hour"), root / "hour.wav")
        previews = Previews(store, root / "scratch")
        began = time.perf_counter()
        previews.preview(FOLDER, "hour", SegmentOptions())
        first = time.perf_counter() - began
        knob = median_seconds(lambda number: previews.preview(FOLDER, "hour", SegmentOptions(threshold_db=-40 + number)))
    print(f"{count} segments in a folder")
    print(f"an edit                {1e3 * edits:8.1f} ms   {rewriting / edits:.0f} times faster than rewriting the manifest")
    print(f"all segments           {1e3 * page:8.1f} ms   read and made into messages")
    print(f"a knob of a preview    {1e3 * knob:8.1f} ms   one hour; {first / knob:.0f} times faster than the first look at it")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
