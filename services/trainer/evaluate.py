"""The losses: of a training step, and on clips that training does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from TTS.tts.layers.xtts.gpt import GPT

from services.trainer.features import Batch, Example, make_batch, middle_crop
from services.trainer.options import AUDIO_LOSS_WEIGHT, TEXT_LOSS_WEIGHT


@dataclass(frozen=True)
class Losses:
    """Cross entropies in nats a token.

    Attributes:
        text: Of the text tokens.
        audio: Of the audio codes.
    """

    text: Tensor
    audio: Tensor

    @property
    def total(self) -> Tensor:
        """What training minimises: the audio loss, and a hundredth of the text loss."""
        return TEXT_LOSS_WEIGHT * self.text + AUDIO_LOSS_WEIGHT * self.audio

    def weighted(self, text: float, audio: float) -> Losses:
        """Returns each loss times its weight."""
        return Losses(self.text * text, self.audio * audio)

    def figures(self) -> dict[str, float]:
        """Returns the losses as numbers, by the names of their series."""
        values = {"loss": self.total, "text_loss": self.text, "audio_loss": self.audio}
        return {name: float(value.detach()) for name, value in values.items()}


def compute_losses(gpt: GPT, batch: Batch, device: torch.device) -> Losses:
    """Runs coqui's GPT over a batch.

    `cond_idxs` stays None. Stock training passes the crop's place in order to leave that part of the clip out of the loss,
    but divides the place by 256 where codes have 1,024 samples, and applies it to the last clip of the batch alone: it
    drops up to a whole clip at random, and with one clip a batch the loss is undefined. Stock evaluation passes None too.
    """
    text, audio, _ = gpt(
        batch.tokens.to(device),
        batch.token_lengths.to(device),
        batch.codes.to(device),
        batch.sample_lengths.to(device),
        cond_mels=batch.crops.to(device),
        cond_idxs=None,
        cond_lens=None,
    )
    return Losses(text, audio)


@torch.no_grad()
def held_out_loss(gpt: GPT, examples: Sequence[Example], mel_stats: Tensor, batch_size: int, device: torch.device) -> float:
    """Returns the total loss on examples, with dropout off and crops that are always the same; NaN without examples.

    Each batch counts by its codes, so that the result does not depend on how the examples are put together.
    """
    if not examples:
        return float("nan")
    was_training = gpt.training
    gpt.eval()
    weighted, weights = 0.0, 0
    for start in range(0, len(examples), batch_size):
        chosen = examples[start : start + batch_size]
        batch = make_batch(chosen, [middle_crop(example.samples) for example in chosen], mel_stats)
        codes = sum(len(example.codes) for example in chosen)
        weighted += codes * float(compute_losses(gpt, batch, device).total)
        weights += codes
    gpt.train(was_training)
    return weighted / weights
