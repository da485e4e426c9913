"""Names of models and voices, and what each stands for: voices by name, checkpoints by key, what programs of OpenAI say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.store import ObjectStore
from services.voices.checkpoints import BASE, find_checkpoint
from services.voices.history import model_of
from services.voices.names import ANY_VOICE, OWN_VOICE
from services.voices.selection import current_checkpoint, standings

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,200}")

Kind = Literal["base", "voice", "checkpoint"]


class ModelNotFound(NotFound):
    """There is no model of that name."""

    def __init__(self, name: str) -> None:
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        message = f"There is no model {shown!r}: GET /v1/models lists those there are."
        super().__init__(message, fields={"model": "there is no such model"})


class VoiceNotFound(InvalidArgument):
    """There is no voice of that name."""

    def __init__(self, name: str) -> None:
        shown = name if len(name) <= 80 else f"{name[:77]}..."
        message = f"There is no voice {shown!r}: GET /v1/audio/voices lists those there are."
        super().__init__(message, fields={"voice": "there is no such voice"})


@dataclass(frozen=True)
class Model:
    """A model that can speak.

    Attributes:
        name: What it is called.
        kind: What the name stands for.
        checkpoint: Key of the checkpoint that speaks now, or `base`.
        created: When that was written; None for the base model.
    """

    name: str
    kind: Kind
    checkpoint: str
    created: datetime | None = None


def list_models(store: ObjectStore) -> list[Model]:
    """Lists the voices, newest first, the base model, and the checkpoints, newest first."""
    standing = standings(store)
    voices = [Model(one.entry.model_name, "voice", one.entry.key, one.entry.modified) for one in standing if one.current]
    checkpoints = [Model(one.entry.key, "checkpoint", one.entry.key, one.entry.modified) for one in standing]
    return [*voices, Model(BASE, "base", BASE), *checkpoints]


def get_model(store: ObjectStore, name: str) -> Model:
    """Returns the model of a name: `base`, a voice, a checkpoint's key, or one of `ANY_VOICE`.

    Raises:
        ModelNotFound: There is none.
    """
    if name == BASE:
        return Model(BASE, "base", BASE)
    if "/" in name:
        try:
            info = find_checkpoint(store, name)
        except (NotFound, InvalidArgument):
            raise ModelNotFound(name) from None
        return Model(info.key, "checkpoint", info.key, info.modified)
    if _NAME.fullmatch(name) and (entry := current_checkpoint(store, name)):
        return Model(name, "voice", entry.key, entry.modified)
    if name not in ANY_VOICE:
        raise ModelNotFound(name)
    newest = list_models(store)[0]  # a voice, or the base model
    return Model(name, newest.kind, newest.checkpoint, newest.created)


def resolve(store: ObjectStore, model: str, voice: str) -> tuple[str, str]:
    """Returns the checkpoint that shall speak, and whose voice.

    Args:
        store: Where checkpoints are.
        model: Any name that `get_model` knows.
        voice: Name of a voice, key of a reference recording, or one of `OWN_VOICE`.

    Returns:
        Key of the checkpoint, or `base`; and of what its voice is taken from: a reference recording or another checkpoint,
        empty for the model's own.

    Raises:
        ModelNotFound: There is no such model.
        VoiceNotFound: There is no such voice.
    """
    if "/" in voice:
        return get_model(store, model).checkpoint, voice
    spoken = _speaks(store, voice)
    if spoken is None:
        if voice not in OWN_VOICE:
            raise VoiceNotFound(voice)
        return get_model(store, model).checkpoint, ""
    if model in ANY_VOICE and not _speaks(store, model):
        return spoken, ""
    chosen = get_model(store, model).checkpoint
    return chosen, "" if model_of(chosen) == voice else spoken


def _speaks(store: ObjectStore, voice: str) -> str | None:
    """Returns the key of a voice's current checkpoint, or None when there is no such voice."""
    if not _NAME.fullmatch(voice):
        return None
    entry = current_checkpoint(store, voice)
    return entry.key if entry else None
