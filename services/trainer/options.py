"""How to train: what users choose, and what the published recipe fixes."""

from __future__ import annotations

from dataclasses import dataclass

from services.runtime.errors import InvalidArgument

TEXT_LOSS_WEIGHT = 0.01
AUDIO_LOSS_WEIGHT = 1.0
"""Weights of the two losses in coqui's GPTArgs, with which XTTS-v2 was trained."""

BETAS = (0.9, 0.96)
EPSILON = 1e-8
WEIGHT_DECAY = 1e-2
"""AdamW as in coqui's XTTS-v2 recipe (recipes/ljspeech/xtts_v2/train_gpt_xtts.py)."""

MIN_CROP_SAMPLES, MAX_CROP_SAMPLES = 66_150, 132_300
"""Conditioning crops of 3 to 6 s at 22,050 Hz, as in that recipe."""


@dataclass(frozen=True)
class TrainOptions:
    """What may differ from run to run.

    Attributes:
        epochs: Passes over the clips.
        batch_size: Clips a step, over all processes of the training.
        learning_rate: Peak of the schedule: it rises over the first steps, then falls to a tenth along a cosine.
        accumulation: Steps whose gradients are added up before the weights change.
        max_gradient_norm: Gradients are scaled down to this norm.
        dropout: Share of activations that a step leaves out; XTTS-v2 was trained with a tenth.
        use_deepspeed: Asked for by the documented flag; see `finetune`.
        save_every: Epochs between checkpoints; None makes it a tenth of `epochs`.
        keep_last: How many of the newest checkpoints stay; the best one stays too.
        held_out: Share of the clips that are not trained on, to measure with.
        seed: Of every random choice.
    """

    epochs: int = 100
    batch_size: int = 4
    learning_rate: float = 1e-4
    accumulation: int = 1
    max_gradient_norm: float = 1.0
    dropout: float = 0.1
    use_deepspeed: bool = False
    save_every: int | None = None
    keep_last: int = 5
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("epochs", 1, 100_000),
            ("batch_size", 1, 256),
            ("learning_rate", 0.0, 1.0),
            ("accumulation", 1, 1_000),
            ("keep_last", 1, 1_000),
            ("held_out", 0.0, 0.5),
            ("dropout", 0.0, 0.9),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidArgument(f"{name} is {value}: it must be {low} to {high}.", fields={name: "out of range"})
        if self.save_every is not None and self.save_every < 1:
            raise InvalidArgument("save_every must be at least 1 epoch.", fields={"save_every": "out of range"})

    @property
    def epochs_between_checkpoints(self) -> int:
        """`save_every`, or a tenth of `epochs`."""
        return self.save_every or max(1, self.epochs // 10)

    def saves_after(self, epoch: int) -> bool:
        """Whether a checkpoint is made after this epoch, from 1."""
        return epoch % self.epochs_between_checkpoints == 0 or epoch == self.epochs
