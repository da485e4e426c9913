"""A training in progress: what it works with, and where it is."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from TTS.tts.layers.xtts.gpt import GPT
from TTS.tts.models.xtts import Xtts

from services.runtime.errors import FailedPrecondition
from services.runtime.store import ObjectStore
from services.trainer.features import Example
from services.trainer.options import TrainOptions
from services.trainer.state import Position, digest_of
from services.voices.checkpoints import Run

if TYPE_CHECKING:
    from services.runtime.jobs.context import JobContext


class LossDiverged(FailedPrecondition):
    """The loss is no longer a number."""

    def __init__(self, step: int, learning_rate: float) -> None:
        super().__init__(
            f"The loss is no longer a number at step {step}: start again with a learning_rate below {learning_rate:g}."
        )


@dataclass
class Training:
    """A run in progress: what stays the same, and where it is.

    Attributes:
        job: Whom to report to.
        store: Where everything is kept.
        options: How to train.
        base: The base folder.
        base_name: What the base is called.
        model_name: The model being made.
        model: The whole model, of which the GPT is trained.
        gpt: The GPT as accelerate prepared it.
        optimizer: Of its weights.
        accelerator: Device, precision, and the other processes of this training.
        train: What is trained on.
        held_out: What is measured with.
        events: TensorBoard; None in a process that does not report.
        run: What run.json says.
        position: How far the run is.
        on_cluster: Whether the job may continue on another machine, which finds only what is in the store.
        state_saved_at: When the state was last saved, by `time.monotonic`.
        state_seconds: How long that took.
    """

    job: JobContext
    store: ObjectStore
    options: TrainOptions
    base: Path
    base_name: str
    model_name: str
    model: Xtts
    gpt: GPT
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    train: list[Example]
    held_out: list[Example]
    events: SummaryWriter | None
    run: Run
    on_cluster: bool = False
    position: Position = field(default_factory=Position)
    state_saved_at: float = field(default_factory=time.monotonic)
    state_seconds: float = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process reports and saves for all of the training."""
        return bool(self.accelerator.is_main_process)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return math.ceil(len(self.train) / self.options.batch_size)

    @property
    def total_steps(self) -> int:
        """Batches of the whole run."""
        return self.batches * self.options.epochs

    @property
    def clips_digest(self) -> str:
        """What decides the order of the batches."""
        return digest_of([example.clip for example in self.train], self.options.seed, self.options.batch_size)

    def record(self, **figures: float) -> None:
        """Adds figures to the job's series and to TensorBoard, at the number of finished steps."""
        if self.events is None:
            return
        self.job.record(self.position.step, **figures)
        for name, value in figures.items():
            self.events.add_scalar(name, value, self.position.step)


def gpu_memory(device: torch.device) -> dict[str, float]:
    """Returns what tensors of this process take of a GPU, and the most that they took so far, in bytes; nothing on the CPU."""
    if device.type != "cuda":
        return {}
    return {
        "gpu_memory_bytes": torch.cuda.memory_allocated(device),
        "gpu_memory_peak_bytes": torch.cuda.max_memory_allocated(device),
    }
