from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.runtime.errors import InvalidArgument
from services.runtime.jobs import Job, JobQueue, JobState
from services.runtime.jobs.model import SeriesPoint
from services.runtime.jobs.queue import JobNotFound
from services.runtime.store import ObjectStore
from services.trainer.clips import Clip
from services.trainer.estimate import estimate
from services.trainer.runs import find_run, list_runs, seconds_per_step
from services.trainer.voices import list_voices
from services.voices.checkpoints import Run, checkpoint_key, state_key, write_run

PARAMETERS = {"dataset_folder": "datasets/voice", "epochs": 10, "batch_size": 4, "language": "pt", "resume": False}
CLIPS = [Clip(f"segment_{n:05d}", f"k{n}", "Olá.", f"recording{n // 10}", 9.0) for n in range(100)]


def points(times: Sequence[float], steps: Sequence[int] | None = None) -> list[SeriesPoint]:
    return [SeriesPoint("loss", step, 1.0, time) for step, time in zip(steps or range(1, 1 + len(times)), times, strict=True)]


def trained(
    queue: JobQueue,
    model: str,
    *,
    seconds: float = 2.0,
    steps: int = 20,
    state: JobState = JobState.SUCCEEDED,
    progress: float = 0.5,
    **changes: object,
) -> Job:
    """A training as its worker reports it."""
    asked = {"model_name": model, **PARAMETERS, **changes}
    queue.submit("trainer.train", model, asked)
    job = queue.claim(["trainer.train"])
    assert job is not None
    made = [("loss", step, 5.0 - step / 10, 1000.0 + seconds * step) for step in range(1, steps + 1)]
    made.append(("eval_loss", steps, 4.5, 1000.0 + seconds * steps))
    queue.report(job.id, job.lease, {"progress": progress}, points=made if steps else [])
    queue.finish(job.id, job.lease, state)
    return queue.get(job.id)


def ran(store: ObjectStore, job: Job, base: str = "tiny", device: str = "the CPU with 1 thread", size: int = 1000) -> None:
    write_run(store, job.subject, Run(job.id, job.parameters, base_name=base, device=device))
    store.put(checkpoint_key(job.subject, 10), b"x" * size)


def test_a_step_takes_what_lies_between_its_points() -> None:
    assert seconds_per_step(points([10.0, 12.0, 14.0])) == 2.0
    assert seconds_per_step(points([10.0, 30.0, 50.0], [1, 11, 21])) == 2.0
    # saving takes 12 s once, and counts; a night in between does not
    assert seconds_per_step(points([0.0, 2.0, 4.0, 18.0])) == 6.0
    assert seconds_per_step(points([0.0, 2.0, 4.0, 40_000.0, 40_002.0])) == 2.0


@pytest.mark.parametrize("times", [[], [5.0]])
def test_one_point_says_nothing(times: list[float]) -> None:
    assert seconds_per_step(points(times)) is None


def test_runs_are_listed_newest_first(queue: JobQueue) -> None:
    first = trained(queue, "voice", state=JobState.STOPPED)
    other = trained(queue, "other", steps=0, state=JobState.FAILED, progress=0.0)
    second = trained(queue, "voice", seconds=0.5)
    queue.submit("dataset.segment", "voice", {})
    assert [run.job.id for run in list_runs(queue)] == [second.id, other.id, first.id]
    newest, oldest = list_runs(queue, "voice")
    assert (newest.epochs, newest.last_loss, newest.last_eval_loss, newest.seconds_per_step) == (10, 3.0, 4.5, 0.5)
    assert (oldest.epochs, oldest.seconds_per_step) == (5, 2.0)
    (nothing,) = list_runs(queue, "other")
    assert (nothing.epochs, nothing.last_loss, nothing.seconds_per_step) == (0, None, None)
    assert len(list_runs(queue, limit=2)) == 2
    for limit in (0, 101):
        with pytest.raises(InvalidArgument):
            list_runs(queue, limit=limit)
    assert find_run(queue, first.id) == first
    with pytest.raises(JobNotFound):
        find_run(queue, queue.find(kind="dataset.segment")[0].id)


def test_nothing_measured_is_said_so(store: ObjectStore, queue: JobQueue) -> None:
    made = estimate(store, queue, {"model_name": "voice", **PARAMETERS}, CLIPS, "tiny")
    assert (made.steps, made.clips, made.hours) == (230, 90, 0.25)  # ten clips are held out: a whole recording
    assert (made.seconds, made.disk_bytes) == (None, None)
    assert "measured" in made.basis
    full = estimate(store, queue, {"model_name": "voice", **PARAMETERS}, CLIPS, "xtts_v2")
    assert full.seconds is None
    assert full.disk_bytes == pytest.approx(9 * 1.764e9, rel=0.01)  # six checkpoints and the state


def test_an_estimate_is_what_the_nearest_run_took(store: ObjectStore, queue: JobQueue) -> None:
    ran(store, trained(queue, "far", seconds=9.0, batch_size=16))
    ran(store, trained(queue, "near", seconds=3.0, batch_size=4))
    ran(store, trained(queue, "elsewhere", seconds=0.1, batch_size=4), base="xtts_v2")
    same = estimate(store, queue, {"model_name": "voice", **PARAMETERS}, CLIPS, "tiny")
    assert same.seconds == pytest.approx(230 * 3.0)
    assert same.basis == "3 s a step, as the training of near on the CPU with 1 thread took at batch size 4."
    double = estimate(store, queue, {"model_name": "voice", **PARAMETERS, "batch_size": 6}, CLIPS, "tiny")
    assert double.seconds == pytest.approx(150 * 4.5)
    assert "in proportion for batch size 6" in double.basis
    assert "near" in double.basis


def test_only_the_device_of_the_newest_run_counts(store: ObjectStore, queue: JobQueue) -> None:
    ran(store, trained(queue, "slow", seconds=20.0, batch_size=4))
    ran(store, trained(queue, "fast", seconds=0.2, batch_size=2), device="a GPU")
    made = estimate(store, queue, {"model_name": "voice", **PARAMETERS}, CLIPS, "tiny")
    assert made.seconds == pytest.approx(230 * 0.4)


def test_disk_is_that_of_a_real_model_and_resuming_does_the_rest(store: ObjectStore, queue: JobQueue) -> None:
    ran(store, trained(queue, "voice"), size=1000)
    store.put(state_key("voice"), b"x" * 2500)
    asked = {"model_name": "voice", **PARAMETERS, "epochs": 30, "resume": True}
    made = estimate(store, queue, asked, CLIPS, "tiny")
    assert made.disk_bytes == 6 * 1000 + 2500
    assert made.steps == 20 * 23
    assert estimate(store, queue, {**asked, "epochs": 10}, CLIPS, "tiny").seconds == 0


def test_clips_that_are_still_transcribed_are_not_guessed(store: ObjectStore, queue: JobQueue) -> None:
    ran(store, trained(queue, "near"))
    made = estimate(store, queue, {"model_name": "voice", **PARAMETERS}, [], "tiny")
    assert (made.steps, made.seconds) == (0, None)
    assert "transcribed" in made.basis


def test_voices_are_models_and_trainings(store: ObjectStore, queue: JobQueue) -> None:
    store.put(checkpoint_key("old", 10), b"x")
    write_run(
        store,
        "old",
        Run(
            "gone", {"dataset_folder": "datasets/o", "language": "en"}, scores={"10": {"train_loss": 2.0, "held_out_loss": 3.0}}
        ),
    )
    ran(store, trained(queue, "voice"))
    queue.submit("trainer.train", "coming", {"model_name": "coming", **PARAMETERS})
    coming, voice, old = list_voices(store, queue)
    assert [coming.name, voice.name, old.name] == ["coming", "voice", "old"]
    assert (coming.current, coming.best, coming.checkpoints, coming.last_loss) == ("", "", [], None)
    assert coming.newest is not None
    assert coming.newest.state is JobState.QUEUED
    assert (voice.current, voice.best, voice.last_loss, voice.last_eval_loss) == (checkpoint_key("voice", 10), "", 3.0, 4.5)
    assert voice.dataset_folder == "datasets/voice"
    assert (old.newest, old.dataset_folder, old.language) == (None, "datasets/o", "en")
    assert (old.current, old.best) == (checkpoint_key("old", 10), checkpoint_key("old", 10))
    assert (old.last_loss, old.last_eval_loss, old.sample) == (2.0, 3.0, None)
