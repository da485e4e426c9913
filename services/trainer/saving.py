"""What a training saves while it goes on: checkpoints to speak with, and the state to continue from."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from torch import Tensor
from TTS.tts.layers.xtts.gpt import GPT

from services.trainer.clips import pick, reference_clips
from services.trainer.evaluate import held_out_loss
from services.trainer.resume import keep_state
from services.trainer.snapshot import make_checkpoint
from services.trainer.state import TrainingState, save_state
from services.trainer.training import LossDiverged, Training
from services.voices.checkpoints import checkpoint_key, events_key, prune, write_run
from services.voices.selection import promoted_epoch
from services.xtts.base import fingerprint
from services.xtts.checkpoint import save_checkpoint

_MIN_STATE_INTERVAL_SECONDS = 5.0
_STATE_COST_SHARE = 0.05
"""The state is saved every 5 s, or less often where saving would take more than this part of the time."""


def write_checkpoint(training: Training) -> None:
    """Measures, makes a checkpoint of the finished epochs, and removes those that are not kept."""
    gpt: GPT = training.accelerator.unwrap_model(training.gpt)
    options, epoch = training.options, training.position.epoch
    train_loss = training.position.last_loss or 0.0
    scores = {"train_loss": train_loss}
    device = training.accelerator.device
    if training.held_out:
        mel_stats = training.model.mel_stats
        measured = held_out_loss(gpt, training.held_out, mel_stats, options.batch_size, device)
        if not math.isfinite(measured):
            raise LossDiverged(training.position.step, options.learning_rate)
        scores["held_out_loss"] = measured
        training.record(eval_loss=measured)
    checkpoint = make_checkpoint(
        training.model,
        _gpt_weights(gpt),
        model_name=training.model_name,
        epoch=epoch,
        base=training.base,
        base_name=training.base_name,
        reference=pick(training.train, reference_clips([example.clip for example in training.train])),
        held_out=training.held_out,
        scores=scores,
    )
    path = training.job.scratch / "checkpoint.pth"
    save_checkpoint(path, checkpoint)
    training.store.put(checkpoint_key(training.model_name, epoch), path)
    path.unlink()
    score = scores.get("held_out_loss", train_loss)
    best = training.run.best_score is None or score < training.run.best_score
    if best:
        training.run = replace(training.run, best_epoch=epoch, best_score=score)
    training.run = replace(training.run, scores={**training.run.scores, str(epoch): scores})
    write_run(training.store, training.model_name, training.run)
    measured_as = "Held-out loss" if training.held_out else "Training loss"
    training.job.log(f"Saved checkpoint_epoch_{epoch}. {measured_as}: {score:.4f}{' (the best so far)' * best}")
    kept = {training.run.best_epoch, epoch, promoted_epoch(training.store, training.model_name) or epoch}
    gone = prune(training.store, training.model_name, keep_last=options.keep_last, keep_epochs=kept)
    if gone:
        training.job.log(f"Removed {', '.join(gone)}.")
    keep_events(training)


def write_state(training: Training, *, to_store: bool) -> None:
    """Saves what it takes to continue: always in the job's own folder, and in the store where others must find it."""
    began = time.monotonic()
    state = TrainingState(
        position=training.position,
        clips=training.clips_digest,
        base_fingerprint=fingerprint(training.base),
        gpt=_gpt_weights(training.accelerator.unwrap_model(training.gpt)),
        optimizer=training.optimizer.state_dict(),
    )
    path = training.job.scratch / "state.pth"
    save_state(path, state)
    if to_store:
        keep_state(training.store, training.model_name, path)
    training.state_saved_at = time.monotonic()
    training.state_seconds = training.state_saved_at - began


def write_state_now_and_then(training: Training) -> None:
    """Saves the state when the last time is long enough ago: in the store, too, if the job may continue on another machine."""
    interval = max(_MIN_STATE_INTERVAL_SECONDS, training.state_seconds / _STATE_COST_SHARE)
    if time.monotonic() - training.state_saved_at > interval:
        write_state(training, to_store=training.on_cluster)


def write_interrupted(training: Training, *, for_good: bool) -> None:
    """Saves a run that ends before its time; one that ends for good also gets a checkpoint of its finished epochs."""
    position = training.position
    if for_good and position.epoch and training.store.stat(checkpoint_key(training.model_name, position.epoch)) is None:
        write_checkpoint(training)
    write_state(training, to_store=True)
    keep_events(training)
    training.job.log(f"Saved after epoch {position.epoch}, batch {position.batch}.")


def keep_events(training: Training) -> None:
    """Puts the TensorBoard event files into the store."""
    if training.events is None:
        return
    training.events.flush()
    for path in sorted((training.job.scratch / "events").iterdir()):
        training.store.put(events_key(training.model_name, path.name), path)


def _gpt_weights(gpt: GPT) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in gpt.state_dict().items()}
