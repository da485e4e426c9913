"""What it takes to continue a training where it stood: weights, optimiser, and the position in the run.

Random numbers are no part of it: every draw (order of the clips, crops, dropout) comes from the seed, the epoch and the
position in the epoch, so a continued run draws what an undisturbed one would have drawn. Only dropout also depends on the
number of processes that share the training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.runtime.errors import FailedPrecondition
from services.trainer.clips import Clip
from services.xtts.checkpoint import NotACheckpoint, load_plain, save_atomically

FORMAT = "timbre.xtts.training-state"


class StateMisfit(FailedPrecondition):
    """A state belongs to another base model or a different set of weights."""

    def __init__(self) -> None:
        super().__init__(
            "The model's earlier run was made from another base model: set TIMBRE_BASE_MODEL back to it, or send "
            "overwrite: true to begin anew."
        )


@dataclass(frozen=True)
class Position:
    """How far a run is.

    Attributes:
        epoch: Finished epochs.
        batch: Finished batches of the epoch after them.
        loss_sum: Sum of those batches' losses.
        step: Finished batches of the whole run.
        last_loss: Mean loss of the last finished epoch; None before there is one.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    step: int = 0
    last_loss: float | None = None

    def after_batch(self, loss: float) -> Position:
        """Returns the position one batch on."""
        return replace(self, batch=self.batch + 1, step=self.step + 1, loss_sum=self.loss_sum + loss)

    def after_epoch(self) -> Position:
        """Returns the position at the start of the next epoch."""
        return Position(epoch=self.epoch + 1, step=self.step, last_loss=self.loss_sum / self.batch)

    def begin_epoch_again(self) -> Position:
        """Returns the position at the start of the epoch that is under way."""
        return replace(self, batch=0, loss_sum=0.0, step=self.step - self.batch)


@dataclass(frozen=True)
class TrainingState:
    """A run as it can be continued.

    Attributes:
        position: How far it is.
        clips: Digest of the clips that it trains on; with others the epoch begins anew.
        base_fingerprint: Of the base model.
        gpt: Weights.
        optimizer: The optimiser's state dict.
    """

    position: Position
    clips: str
    base_fingerprint: str
    gpt: dict[str, Tensor]
    optimizer: dict[str, Any]


def save_state(path: Path, state: TrainingState) -> None:
    """Writes a state; the file appears only when it is whole."""
    content = {
        "format": FORMAT,
        "position": asdict(state.position),
        "clips": state.clips,
        "base_fingerprint": state.base_fingerprint,
        "gpt": state.gpt,
        "optimizer": state.optimizer,
    }
    save_atomically(path, content)


def load_state(path: Path) -> TrainingState | None:
    """Reads a state; None when there is no file, or it is no state.

    Nothing but plain data and tensors is ever read from it.
    """
    try:
        content = load_plain(path)
        if content.get("format") != FORMAT:
            return None
        return TrainingState(
            position=Position(**content["position"]),
            clips=content["clips"],
            base_fingerprint=content["base_fingerprint"],
            gpt=content["gpt"],
            optimizer=content["optimizer"],
        )
    except (FileNotFoundError, NotACheckpoint, KeyError, TypeError):
        return None


def digest_of(clips: Sequence[Clip], seed: int, batch_size: int) -> str:
    """Returns what decides the order of the batches: a position in an epoch means something only while it is the same."""
    parts = [str(seed), str(batch_size), *(f"{clip.key}\t{clip.text}" for clip in clips)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def order_of_epoch(count: int, seed: int, epoch: int) -> list[int]:
    """Returns the order in which an epoch, from 1, goes through the examples."""
    return [int(index) for index in np.random.default_rng([seed, epoch]).permutation(count)]


def draws_of_batch(seed: int, epoch: int, batch: int, rank: int = 0) -> np.random.Generator:
    """Returns the generator of one batch's crops, and seeds torch's for the dropout in one process's share of it."""
    random = np.random.default_rng([seed, epoch, batch])
    torch.manual_seed(int(random.integers(2**62)) + rank)
    return random
