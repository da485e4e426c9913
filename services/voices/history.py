"""What was spoken, kept: beside each WAV a small object that says what was said, with which checkpoint and how.

inference/inference_20251206_143000.wav
inference/inference_20251206_143000.0b1c2d3e-4f5a6b7c.json   digests of the model and of the checkpoint in its name

The names sort by time and tell who spoke. So a page of the newest needs a part of the store's list and reads only what is
on it, whichever checkpoint it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta

from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.keys import check_name
from services.runtime.store import ObjectNotFound, ObjectStore
from services.voices.checkpoints import BASE, ROOT

MAX_LIMIT = 1_000
DEFAULT_LIMIT = 50

_PREFIX = "inference/inference_"
_STAMP = "%Y%m%d_%H%M%S"
_ID = re.compile(r"inference_(?P<stamp>[0-9]{8}_[0-9]{6})(?:_[0-9a-f]{6})?")
_ENTRY = re.compile(rf"inference/(?P<id>{_ID.pattern})\.(?P<model>[0-9a-f]{{8}})-(?P<checkpoint>[0-9a-f]{{8}})\.json")

_REACH_DAYS = (1, 7, 30, 365)
"""How far back a page is looked for, further and further; then in everything."""


class UtteranceNotFound(NotFound):
    """There is no utterance of that name."""


@dataclass(frozen=True)
class Utterance:
    """Something that was spoken.

    Attributes:
        id: Its name: the WAV is `inference/<id>.wav`.
        text: What was said.
        checkpoint: Key of the checkpoint, or `base`.
        temperature: Sampling temperature.
        speed: Speed factor.
        language: Code of the language.
        speaker: Key of the reference recording; empty when the model spoke in its own voice.
        seed: Seed of the sampling.
        duration_seconds: Length of the audio.
        real_time_factor: Seconds of computing for a second of audio.
        created_at: When it was spoken, seconds since 1970 UTC.
    """

    id: str
    text: str
    checkpoint: str
    temperature: float
    speed: float
    language: str
    speaker: str
    seed: int
    duration_seconds: float
    real_time_factor: float
    created_at: float

    @property
    def audio_key(self) -> str:
        """Key of the WAV."""
        return f"inference/{self.id}.wav"


def id_of(audio_key: str) -> str:
    """Returns the name of the utterance whose WAV this is."""
    return audio_key.removeprefix("inference/").removesuffix(".wav")


def remember(store: ObjectStore, utterance: Utterance) -> None:
    """Keeps what is known of an utterance; its WAV must be there already."""
    key = f"inference/{utterance.id}.{_digest(model_of(utterance.checkpoint))}-{_digest(utterance.checkpoint)}.json"
    store.put(key, json.dumps(asdict(utterance), ensure_ascii=False).encode(), "application/json")


def list_utterances(
    store: ObjectStore, *, checkpoint: str = "", limit: int = DEFAULT_LIMIT, before: str = ""
) -> list[Utterance]:
    """Returns what was spoken, newest first.

    Args:
        store: Where.
        checkpoint: Only what this checkpoint said; empty for all.
        limit: At most so many, 1 to 1000.
        before: Only what is older than this utterance; empty for the newest.

    Raises:
        InvalidArgument: `limit` is out of range, `before` is no name of an utterance, or `checkpoint` none of a checkpoint.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgument(f"limit is {limit}: it must be 1 to {MAX_LIMIT}.", fields={"limit": "out of range"})
    if checkpoint not in ("", BASE):
        check_name(checkpoint, field="checkpoint", under=(ROOT,))
    newest = datetime.now(UTC)
    if before:
        match = _ID.fullmatch(before)
        if match is None:
            raise InvalidArgument(f"before is {before[:80]!r}: give the id of an utterance.", fields={"before": "no id"})
        newest = _time_of(match["stamp"])
    wanted = _digest(checkpoint) if checkpoint else ""
    entries: list[re.Match[str]] = []
    for reach in (*_REACH_DAYS, None):
        entries = [
            entry
            for entry in _entries(store, newest - timedelta(days=reach) if reach else None)
            if wanted in ("", entry["checkpoint"]) and (not before or entry["id"] < before)
        ]
        if len(entries) >= limit:
            break
    found = (_read(store, entry[0]) for entry in reversed(entries[-limit:]))
    return [utterance for utterance in found if utterance and checkpoint in ("", utterance.checkpoint)]


def newest_of_models(store: ObjectStore, models: Iterable[str]) -> dict[str, Utterance]:
    """Returns the newest thing that each of these models said with any of its checkpoints; those that said nothing lack."""
    last = {entry["model"]: entry[0] for entry in _entries(store, None)}
    read = {model: _read(store, key) for model in models if (key := last.get(_digest(model)))}
    return {model: utterance for model, utterance in read.items() if utterance}


def forget(store: ObjectStore, utterance_id: str) -> None:
    """Deletes an utterance, audio and all.

    Raises:
        UtteranceNotFound: There is none of that name.
    """
    keys = []
    if _ID.fullmatch(utterance_id):
        keys = [info.key for info in store.list(f"inference/{utterance_id}.")]
    if not keys:
        raise UtteranceNotFound(f"There is no utterance {utterance_id[:80]!r}: the history lists those there are.")
    for key in sorted(keys):  # .wav after what names it
        store.delete(key)


def model_of(checkpoint: str) -> str:
    """Returns the name of the model that a checkpoint belongs to; `base` is its own."""
    return checkpoint.removeprefix(ROOT).partition("/")[0]


def _entries(store: ObjectStore, since: datetime | None) -> Iterable[re.Match[str]]:
    """Goes through the entries from a time on, oldest first."""
    start = f"{_PREFIX}{since:{_STAMP}}" if since else ""
    return (entry for info in store.list(_PREFIX, start_after=start) if (entry := _ENTRY.fullmatch(info.key)))


def _read(store: ObjectStore, key: str) -> Utterance | None:
    try:
        content = json.loads(store.get(key))
    except ObjectNotFound:  # deleted a moment ago
        return None
    return Utterance(**{field.name: content[field.name] for field in fields(Utterance)})


def _time_of(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidArgument(
            f"before is not the id of an utterance: {stamp} is no time.", fields={"before": "no id"}
        ) from None


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
