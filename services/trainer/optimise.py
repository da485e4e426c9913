"""The optimiser and the learning rate of a training."""

from __future__ import annotations

import math

import torch
from torch import nn

from services.trainer.options import BETAS, EPSILON, WEIGHT_DECAY

_WARM_UP_STEPS = 100
_WARM_UP_SHARE = 0.1
_FINAL_SHARE = 0.1


def make_optimizer(gpt: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """Makes AdamW over the whole GPT as coqui's recipe does: weight decay on weight matrices only.

    The fused implementation gives the same to 1e-7 in a fraction of the time.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for module in gpt.modules():
        for name, parameter in module.named_parameters(recurse=False):
            plain = isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.Embedding) or not name.endswith("weight")
            (others if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def learning_rate_at(step: int, total_steps: int, peak: float) -> float:
    """Returns the learning rate of a step, from 0: a linear rise over at most 100 steps, then a cosine to a tenth."""
    warm_up = max(1, min(_WARM_UP_STEPS, int(_WARM_UP_SHARE * total_steps)))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / max(1, total_steps - warm_up))
    return peak * (_FINAL_SHARE + (1.0 - _FINAL_SHARE) * 0.5 * (1.0 + math.cos(math.pi * done)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
