"""What a training gets of a dataset."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from services.dataset import layout
from services.dataset.manifest import Segment, write_segments
from services.dataset.remove import remove_dataset
from services.dataset.review import Change, update_segment
from services.runtime.database import open_database
from services.runtime.jobs import JobContext, JobQueue
from services.runtime.store import open_store
from services.trainer.admission import DatasetNotTranscribed
from services.trainer.settings import TrainerSettings
from services.trainer.work import read_clips, train

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


def test_a_training_begins_when_the_deletion_before_it_is_done(tmp_path: Path) -> None:
    store = open_store((tmp_path / "objects").as_uri())
    row = Segment(layout.segment_id(1), "a", 0.0, 9.0, 9.0, 100, transcript="Olá.", normalised="Olá.", language="pt")
    write_segments(store, FOLDER, [row])
    engine = open_database(f"sqlite:///{tmp_path / 'timbre.db'}")
    queue = JobQueue(engine)
    queue.submit("trainer.train", "my_voice", {"dataset_folder": FOLDER, "language": "pt"})
    claimed = queue.claim(["trainer.train"])
    assert claimed
    with ThreadPoolExecutor(1) as pool:
        with queue.exclusive(FOLDER):
            training = pool.submit(train, JobContext(queue, claimed, tmp_path), TrainerSettings(data_dir=tmp_path), store)
            with pytest.raises(TimeoutError):
                training.result(0.2)
            remove_dataset(store, FOLDER)
        with pytest.raises(DatasetNotTranscribed):
            training.result(30)
    engine.dispose()
