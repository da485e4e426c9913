"""Makes a checkpoint of a training: the weights, the voice to speak with, and what to compare it with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from TTS.tts.models.xtts import Xtts

from services.trainer.features import Example, to_float
from services.xtts.base import fingerprint
from services.xtts.build import read_config
from services.xtts.checkpoint import Checkpoint, ReferenceVoice
from services.xtts.features import conditioning_latents

_HELD_OUT_CLIPS = 3
"""Recordings that training did not see and that go along, to compare the voice with: more say little more."""


def make_checkpoint(
    model: Xtts,
    weights: dict[str, Tensor],
    *,
    model_name: str,
    epoch: int,
    base: Path,
    base_name: str,
    reference: Sequence[Example],
    held_out: Sequence[Example],
    scores: dict[str, float],
) -> Checkpoint:
    """Makes a checkpoint of a model as it is now.

    Args:
        model: The whole model; the conditioning encoder is trained too, so its latents of the voice change with it.
        weights: Of its GPT.
        model_name: The model's name.
        epoch: Finished epochs.
        base: The base folder.
        base_name: What the base is called.
        reference: The clips that the voice is taken from.
        held_out: Clips that were not trained on.
        scores: Figures of the epoch.
    """
    was_training = model.gpt.training
    model.gpt.eval()
    latents = conditioning_latents(model, [to_float(example.samples) for example in reference])
    model.gpt.train(was_training)
    languages = Counter(example.clip.language for example in reference)
    return Checkpoint(
        model_name=model_name,
        epoch=epoch,
        base_name=base_name,
        base_fingerprint=fingerprint(base),
        config=read_config(base / "config.json").raw,
        language=languages.most_common(1)[0][0],
        gpt=weights,
        voice=ReferenceVoice(
            latents=latents,
            audio=torch.from_numpy(np.concatenate([example.samples for example in reference])),
            clips=tuple(example.clip.name for example in reference),
        ),
        scores=scores,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        held_out=tuple(torch.from_numpy(np.array(example.samples)) for example in held_out[:_HELD_OUT_CLIPS]),
    )
