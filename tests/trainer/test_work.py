"""What a training gets of a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.dataset import layout
from services.dataset.manifest import Segment, write_segments
from services.dataset.review import Change, update_segment
from services.runtime.store import open_store
from services.trainer.work import read_clips

FOLDER = "datasets/voice"


def test_what_a_person_said_a_moment_ago_counts(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    row = Segment("", "a", 0.0, 9.0, 9.0, 100, transcript="Olá.", normalised="Olá.", language="pt")
    rows = [replace(row, id=layout.segment_id(n), start_s=9.0 * n, end_s=9.0 * n + 9) for n in range(1, 6)]
    write_segments(store, FOLDER, [*rows[:4], replace(rows[4], transcript=None)])
    update_segment(store, FOLDER, rows[0].id, Change(excluded=True))
    update_segment(store, FOLDER, rows[1].id, Change(transcript="São 2 horas."))
    update_segment(store, FOLDER, rows[2].id, Change(transcript=""))
    clips = read_clips(store, FOLDER, "pt")
    assert [(clip.name, clip.text) for clip in clips] == [(rows[1].id, "São duas horas."), (rows[3].id, "Olá.")]
