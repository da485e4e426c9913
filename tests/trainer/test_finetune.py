"""Whole runs of the tiny model: what they leave, and that stopping and dying change nothing of the result."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from services.runtime.jobs import JobQueue
from services.runtime.jobs.context import JobContext, JobReleased, JobStopped
from services.runtime.store import ObjectStore
from services.trainer import finetune as module
from services.trainer.clips import Clip
from services.trainer.finetune import NothingToTrainOn, finetune
from services.trainer.options import TrainOptions
from services.trainer.state import StateMisfit
from services.trainer.training import LossDiverged, Training
from services.voices.checkpoints import checkpoint_key, list_checkpoints, read_run
from services.voices.selection import promote, standings
from services.xtts.checkpoint import Checkpoint, load_checkpoint
from services.xtts.load import load_model

MakeJob = Callable[..., JobContext]
Lines = Callable[[JobContext], list[str]]

OPTIONS = TrainOptions(epochs=4, batch_size=4, learning_rate=1e-3, save_every=2)


class Train:
    """Calls `finetune` with what the tests have in common."""

    def __init__(self, store: ObjectStore, clips: list[Clip], base: Path) -> None:
        self.store, self.clips, self.base = store, clips, base

    def __call__(self, job: JobContext, options: TrainOptions = OPTIONS, **other: Any) -> dict[str, Any]:
        settings = {"clips": self.clips, "base": self.base, "base_name": "tiny", "model_name": "voice", **other}
        return finetune(job, self.store, options=options, **settings)

    def checkpoint(self, epoch: int, model_name: str = "voice") -> Checkpoint:
        path = self.base.parent / f"{model_name}-{epoch}.pth"
        self.store.fetch(checkpoint_key(model_name, epoch), path)
        return load_checkpoint(path)


@pytest.fixture
def train(store: ObjectStore, clips: list[Clip], tiny_base: Path, tmp_path: Path) -> Train:
    return Train(store, clips, tiny_base)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name, value in one.items() if not torch.equal(value, other[name])]
    assert different == []


def stop_at_step(monkeypatch: pytest.MonkeyPatch, job: JobContext, step: int, how: str) -> None:
    """Lets something happen to a job once it has done so many steps."""
    original = module._train_batch
    done = 0

    def counting(*arguments: Any) -> dict[str, float]:
        nonlocal done
        if done == step and how == "die":
            raise KeyboardInterrupt
        figures = original(*arguments)
        done += 1
        if done == step and how != "die":
            setattr(job, how, True)
        return figures

    monkeypatch.setattr(module, "_train_batch", counting)


def test_a_run_leaves_what_is_promised(
    train: Train, make_job: MakeJob, lines: Lines, queue: JobQueue, store: ObjectStore, tmp_path: Path
) -> None:
    job = make_job()
    mute = replace(train.clips[0], name="segment_99999", text="")
    options = TrainOptions(epochs=10, batch_size=4, learning_rate=3e-3, keep_last=3)
    result = train(job, options, clips=[*train.clips, mute])
    logged = lines(job)

    losses = [float(match[2]) for line in logged if (match := re.fullmatch(r"Epoch (\d+)/10 - Loss: (\d+\.\d{4})", line))]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.5
    assert "segment_99999 has no text: left out." in logged
    assert any(line.endswith("held out are 3 clips, the whole of 1 recording.") for line in logged)
    run = read_run(store, "voice")
    assert run is not None
    assert run.completed
    kept = {entry.epoch for entry in list_checkpoints(store, "voice")}
    assert kept == {8, 9, 10, run.best_epoch}
    standing = {one.entry.epoch: one for one in standings(store, "voice")}
    assert {epoch for epoch, one in standing.items() if one.best} == {run.best_epoch}
    assert standing[run.best_epoch].eval_loss == run.best_score == min(one["held_out_loss"] for one in run.scores.values())
    assert (run.base_name, run.device) == ("tiny", "the CPU with 1 thread")
    assert result["checkpoint"] == "train/output/voice/checkpoints/checkpoint_epoch_10.pth"
    assert result["clips_left_out"] == [{"name": "segment_99999", "reason": "has no text"}]
    assert (result["clips_trained"], result["clips_held_out"]) == (9, 3)

    last = train.checkpoint(10)
    assert (last.model_name, last.epoch, last.base_name, last.language) == ("voice", 10, "tiny", "pt")
    assert last.scores == {"train_loss": standing[10].loss, "held_out_loss": standing[10].eval_loss}
    assert last.scores["train_loss"] == pytest.approx(losses[-1], abs=1e-4)
    assert last.scores["held_out_loss"] > 0
    assert len(last.voice.audio) > 22_050 * 3
    assert set(last.voice.clips) <= {clip.name for clip in train.clips}
    assert 1 <= len(last.held_out) <= 3
    assert all(len(clip) > 22_050 for clip in last.held_out)
    model = load_model(train.base, last)
    torch.manual_seed(0)
    latents = last.voice.latents
    assert len(model.inference("Olá.", "pt", latents.gpt_cond_latent, latents.speaker_embedding)["wav"]) > 1_000

    job.flush()
    series = queue.series(job.id)
    assert {point.name for point in series} == {"loss", "text_loss", "audio_loss", "eval_loss", "learning_rate", "epoch"}
    steps = [point.step for point in series if point.name == "loss"]
    assert steps == list(range(1, len(steps) + 1))
    assert [point.value for point in series if point.name == "epoch"][-1] == 10
    assert queue.get(job.id).progress == 1.0

    (events,) = store.list("train/output/voice/events/")
    store.fetch(events.key, tmp_path / "events" / events.key.rpartition("/")[2])
    scalars = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [event.step for event in scalars.Scalars("loss")] == steps


def test_a_run_that_dies_and_is_taken_up_ends_with_the_same_weights(
    train: Train, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_job(), model_name="undisturbed")
    monkeypatch.setattr("services.trainer.saving._MIN_STATE_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr("services.trainer.saving._STATE_COST_SHARE", 1e9)
    job = make_job()
    for step in (3, 2):
        with monkeypatch.context() as patch:
            stop_at_step(patch, job, step, "die")
            with pytest.raises(KeyboardInterrupt):
                train(job)
        job = make_job(again=job)
    train(job)
    assert_same(train.checkpoint(4).gpt, train.checkpoint(4, "undisturbed").gpt)
    scores = train.checkpoint(4).scores
    assert scores == train.checkpoint(4, "undisturbed").scores


@pytest.mark.parametrize("how", ["stop_requested", "released"])
def test_a_stopped_run_saves_and_continues_in_the_middle_of_an_epoch(
    train: Train, make_job: MakeJob, lines: Lines, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    train(make_job(), model_name="undisturbed")
    job = make_job()
    with monkeypatch.context() as patch:
        stop_at_step(patch, job, 4, how)
        with pytest.raises(JobStopped if how == "stop_requested" else JobReleased):
            train(job)
    assert any(re.fullmatch(r"Saved after epoch \d, batch \d\.", line) for line in lines(job))
    stopped = how == "stop_requested"
    assert bool(list_checkpoints(train.store, "voice")) == stopped
    # A stopped run is taken up by another job, on another machine maybe; a released one by the same.
    again = make_job() if stopped else make_job(again=job)
    train(again, resume=stopped)
    assert any(line.startswith("Continuing after epoch") for line in lines(again))
    assert_same(train.checkpoint(4).gpt, train.checkpoint(4, "undisturbed").gpt)


def test_a_finished_run_can_go_on_for_more_epochs(train: Train, make_job: MakeJob, lines: Lines) -> None:
    train(make_job(), replace(OPTIONS, epochs=2))
    job = make_job()
    result = train(job, replace(OPTIONS, epochs=3), resume=True)
    assert result["epochs"] == 3
    assert [line for line in lines(job) if line.startswith("Epoch")] == [
        line for line in lines(job) if line.startswith("Epoch 3/3 - Loss: ")
    ]
    assert {entry.epoch for entry in list_checkpoints(train.store, "voice")} == {2, 3}


def test_a_promoted_checkpoint_stays_and_its_scores_too(train: Train, make_job: MakeJob, store: ObjectStore) -> None:
    train(make_job(), TrainOptions(epochs=2, batch_size=4, learning_rate=3e-3, keep_last=2))
    promote(store, checkpoint_key("voice", 1))
    train(make_job(), TrainOptions(epochs=5, batch_size=4, learning_rate=3e-3, keep_last=1), resume=True)
    standing = {one.entry.epoch: one for one in standings(store, "voice")}
    assert {1, 5} <= set(standing)
    assert [epoch for epoch, one in standing.items() if one.current] == [1]
    assert all(one.eval_loss is not None for one in standing.values())


def test_without_resume_the_earlier_run_moves_aside(train: Train, make_job: MakeJob, store: ObjectStore) -> None:
    options = replace(OPTIONS, epochs=1)
    train(make_job(), options)
    job = make_job()
    train(job, options)
    assert {entry.model_name for entry in list_checkpoints(store)} == {"voice", f"voice.before-{job.id[-8:]}"}
    # A further attempt of that job finds its own run, and moves nothing.
    train(make_job(again=job), options)
    assert len(list_checkpoints(store)) == 2


def test_changed_clips_begin_the_epoch_anew(
    train: Train, make_job: MakeJob, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    with monkeypatch.context() as patch:
        stop_at_step(patch, job, 1, "stop_requested")
        with pytest.raises(JobStopped):
            train(job)
    again = make_job()
    train(again, replace(OPTIONS, epochs=1), clips=train.clips[:-1], resume=True)
    assert "The clips or the batch size have changed since: the epoch begins anew." in lines(again)


def test_another_base_is_refused(train: Train, make_job: MakeJob, tmp_path: Path) -> None:
    train(make_job(), replace(OPTIONS, epochs=1))
    other = Path(shutil.copytree(train.base, tmp_path / "other"))
    config = (other / "config.json").read_text().replace("tiny-1", "tiny-0")
    (other / "config.json").write_text(config)
    with pytest.raises(StateMisfit, match="another base model"):
        train(make_job(), base=other, resume=True)


def test_accumulated_steps_change_the_weights_once(train: Train, make_job: MakeJob) -> None:
    """Two clips at once, and one after the other added up: the same gradients but for dropout, so nearly the same loss."""
    options = TrainOptions(epochs=2, batch_size=1, learning_rate=1e-3, accumulation=100, save_every=2)
    train(make_job(), options, clips=train.clips[:3], model_name="accumulated")
    result = train(make_job(), replace(options, accumulation=1), clips=train.clips[:3], model_name="stepwise")
    assert result["clips_held_out"] == 0
    accumulated, stepwise = (train.checkpoint(2, name) for name in ("accumulated", "stepwise"))
    base = load_model(train.base).gpt.state_dict()

    def moved(checkpoint: Checkpoint) -> float:
        return float((checkpoint.gpt["mel_head.weight"] - base["mel_head.weight"]).norm())

    # AdamW's first steps have about the same length whatever the gradient: two of them move less than six.
    assert 0 < moved(accumulated) < 0.6 * moved(stepwise)


def test_deepspeed_on_one_device_is_accepted_and_explained(train: Train, make_job: MakeJob, lines: Lines) -> None:
    job = make_job()
    train(job, replace(OPTIONS, epochs=1, use_deepspeed=True))
    assert any(line.startswith("use_deepspeed has no effect") for line in lines(job))


def test_nothing_to_train_on_is_an_error_that_says_why(train: Train, make_job: MakeJob) -> None:
    mute = [replace(clip, text="") for clip in train.clips]
    with pytest.raises(NothingToTrainOn, match=r"None of the 12 clips .* has no text"):
        train(make_job(), clips=mute)
    with pytest.raises(NothingToTrainOn, match="no clips"):
        train(make_job(), clips=[])


def test_a_loss_that_is_no_number_ends_the_run(train: Train, make_job: MakeJob) -> None:
    with pytest.raises(LossDiverged, match="start again with a learning_rate below 1"):
        train(make_job(), TrainOptions(epochs=50, batch_size=4, learning_rate=1.0, max_gradient_norm=1e30, save_every=50))


def test_a_held_out_loss_that_is_no_number_ends_it_too(
    train: Train, make_job: MakeJob, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module._train_batch

    def step_too_far(training: Training, *arguments: Any) -> dict[str, float]:
        figures = original(training, *arguments)
        with torch.no_grad():
            next(training.gpt.parameters()).fill_(torch.nan)
        return figures

    monkeypatch.setattr(module, "_train_batch", step_too_far)
    with pytest.raises(LossDiverged, match="no longer a number at step 1:"):
        train(make_job(), TrainOptions(epochs=1, batch_size=16, save_every=1))
    assert list_checkpoints(store, "voice") == []
