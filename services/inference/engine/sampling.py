"""Draws the next audio code from the model's logits, in the order and with the arithmetic of transformers' `generate`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Distribution:
    """What is done to the logits before a code is drawn.

    Attributes:
        temperature: Divides the logits.
        top_k: Only so many of the most probable codes remain; 0 keeps all.
        top_p: Of those, the most probable whose probabilities add up to this remain, at least one.
        repetition_penalty: Logits of codes that were drawn before are divided by it, or multiplied if negative
            (Keskar et al., "CTRL", arXiv:1909.05858).
    """

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float


def draw(logits: Tensor, seen: Tensor, distribution: Distribution, generator: torch.Generator) -> Tensor:
    """Draws one code.

    Args:
        logits: Shape [codes], float32.
        seen: Whether each code was drawn before, bool, shape [codes].
        distribution: What is done to the logits.
        generator: The source of randomness, on the same device.

    Returns:
        The code, int64, shape [1].
    """
    penalty = distribution.repetition_penalty
    penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
    scores = torch.where(seen, penalised, logits) / distribution.temperature
    if 0 < distribution.top_k < scores.numel():
        scores, candidates = torch.topk(scores, distribution.top_k)
    else:
        scores, candidates = torch.sort(scores, descending=True)
    probabilities = torch.softmax(scores, dim=-1)
    # What lies in front of a code in this order; where that is top_p or more, the code is not needed.
    mass_before = torch.cumsum(probabilities, dim=-1) - probabilities
    kept = torch.where(mass_before < distribution.top_p, probabilities, 0.0)
    return candidates[torch.multinomial(kept, 1, generator=generator)]
