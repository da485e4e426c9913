"""The checkpoint file: a fine-tuned GPT, what it was made from, and the voice to speak with.

It is a torch.save zip archive of plain data, read with `weights_only=True` and mapped into memory: nothing in it is ever
run, and opening one of 1.8 GB takes milliseconds. Everything else (torch's older bare pickles among it) is refused before
torch sees it.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.runtime.errors import FailedPrecondition, Internal
from services.xtts.features import VoiceLatents

FORMAT = "timbre.xtts.checkpoint"
VERSION = 1


class NotACheckpoint(Internal):
    """The file is something else than a checkpoint of ours, or damaged."""

    def __init__(self, why: str = "it is another kind of file, or damaged") -> None:
        super().__init__(f"The file is not a checkpoint of Timbre ({why}): choose one of those that training listed.")


class CheckpointMisfit(FailedPrecondition):
    """The checkpoint was trained from another base model than the one in use."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            f"The checkpoint was trained from the base model {wanted!r}, and another one is in use: set TIMBRE_BASE_MODEL "
            "to it, or choose another checkpoint."
        )


@dataclass(frozen=True)
class ReferenceVoice:
    """The voice that a checkpoint speaks with when no speaker is given.

    Attributes:
        latents: What the model is conditioned on.
        audio: The clips behind it, joined, 22,050 Hz, int16, [samples].
        clips: Their names.
    """

    latents: VoiceLatents
    audio: Tensor
    clips: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A fine-tuned model, without the parts that it shares with its base.

    Attributes:
        model_name: The user's name for it.
        epoch: Epochs trained, from 1; a stop in the middle of an epoch counts the finished ones.
        base_name: What the base was called, for people.
        base_fingerprint: What `base.fingerprint` said of the base; the checkpoint fits no other.
        config: The base's config.json.
        language: What most of the clips speak, such as `pt`.
        gpt: The GPT's weights, by the names of coqui's `GPT.state_dict()`.
        voice: The reference voice.
        scores: Figures of this epoch, such as `train_loss` and `held_out_loss`.
        created: When it was made, ISO 8601 in UTC.
        held_out: Recordings of the voice that the training did not see, each 22,050 Hz, int16, [samples]: what its speech
            is compared with. A few of about 10 s say as much as many.
    """

    model_name: str
    epoch: int
    base_name: str
    base_fingerprint: str
    config: dict[str, Any]
    language: str
    gpt: dict[str, Tensor]
    voice: ReferenceVoice
    scores: dict[str, float]
    created: str
    held_out: tuple[Tensor, ...] = ()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint; the file appears only when it is whole."""
    voice = checkpoint.voice
    content = {
        "format": FORMAT,
        "version": VERSION,
        "model_name": checkpoint.model_name,
        "epoch": checkpoint.epoch,
        "base_name": checkpoint.base_name,
        "base_fingerprint": checkpoint.base_fingerprint,
        "config": checkpoint.config,
        "language": checkpoint.language,
        "gpt": {name: value.detach().cpu().contiguous() for name, value in checkpoint.gpt.items()},
        "voice": {
            "gpt_cond_latent": voice.latents.gpt_cond_latent,
            "speaker_embedding": voice.latents.speaker_embedding,
            "audio": voice.audio,
            "clips": list(voice.clips),
        },
        "scores": dict(checkpoint.scores),
        "created": checkpoint.created,
        "held_out": list(checkpoint.held_out),
    }
    save_atomically(path, content)


def save_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `torch.save(content)` under a temporary name, syncs it, and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as target:
            torch.save(content, target)
            target.flush()
            os.fsync(target.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> Checkpoint:
    """Opens a checkpoint; its tensors are mapped from the file, which must stay while they are used.

    Raises:
        OSError: The file is not there or cannot be read.
        NotACheckpoint: It is something else, damaged, or of a later version.
    """
    content = load_plain(path)
    if content.get("format") != FORMAT:
        raise NotACheckpoint
    if content.get("version") != VERSION:
        raise NotACheckpoint("it is of another version of Timbre")
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotACheckpoint("it lacks a part") from error


def load_plain(path: Path) -> dict[str, Any]:
    """Reads a torch.save archive that holds a dict of plain data and tensors.

    Raises:
        OSError: The file is not there or cannot be read.
        NotACheckpoint: It is something else, or damaged.
    """
    with path.open("rb") as file:
        # torch.load would take the old bare-pickle format too; ours is always the zip archive.
        if not zipfile.is_zipfile(file):
            raise NotACheckpoint
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise NotACheckpoint from error
    if not isinstance(content, dict):
        raise NotACheckpoint
    return content


def _parse(content: dict[str, Any]) -> Checkpoint:
    voice = content["voice"]
    gpt = dict(content["gpt"])
    if not gpt or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in gpt.items()):
        raise TypeError("gpt must map names to tensors")
    latents = VoiceLatents(voice["gpt_cond_latent"].float(), voice["speaker_embedding"].float())
    return Checkpoint(
        model_name=str(content["model_name"]),
        epoch=int(content["epoch"]),
        base_name=str(content["base_name"]),
        base_fingerprint=str(content["base_fingerprint"]),
        config=dict(content["config"]),
        language=str(content["language"]),
        gpt=gpt,
        voice=ReferenceVoice(latents, voice["audio"].to(torch.int16), tuple(map(str, voice["clips"]))),
        scores={str(name): float(value) for name, value in content["scores"].items()},
        created=str(content["created"]),
        held_out=tuple(clip.to(torch.int16) for clip in content.get("held_out", [])),
    )
