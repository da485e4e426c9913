"""Models and voices in memory: loaded when first asked for, the least recently used let go.

Everything here is used by the model thread only, but for `Voices.loaded_names`. So nothing is ever loaded twice at once,
and a load that fails leaves what was loaded as it was.
"""

from __future__ import annotations

import io
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.inference.checkpoint_files import CheckpointFiles
from services.inference.engine.interface import Engine, EngineLoader
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from services.runtime.keys import check_name
from services.runtime.store import ObjectInfo, ObjectStore
from services.voices.checkpoints import BASE, is_checkpoint

if TYPE_CHECKING:
    from services.xtts.features import VoiceLatents

logger = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]

DEFAULT_LANGUAGE = "pt"
"""Of the base model, which speaks many."""

SPEAKER_PREFIXES = ("datasets/", "inference/", "ab_test/")
"""Where reference recordings may lie."""

MAX_REFERENCE_BYTES = 64 * 1024 * 1024
"""Ten minutes of CD quality: the model listens to half a minute at most."""

_CACHED_LATENTS = 64
"""Voices whose latents are kept: 130 kB each at full size."""


class SpeakerNotFound(NotFound):
    """There is no reference recording of that name."""


class NoVoice(FailedPrecondition):
    """The base model came without a voice, and none was named."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to speak.

    Attributes:
        name: Key of its checkpoint, or `base`.
        version: Changes with the content of the checkpoint.
        engine: Speaks.
        language: What it speaks unless told otherwise.
        voice: Its own voice; None for a base that came without one.
        reference: Recording of that voice, 22,050 Hz; None for a base.
        held_out: Recordings of the voice that its training did not see, 22,050 Hz.
    """

    name: str
    version: str
    engine: Engine
    language: str
    voice: VoiceLatents | None
    reference: Samples | None = None
    held_out: tuple[Samples, ...] = ()


class Voices:
    """The models in memory.

    Args:
        store: Holds checkpoints and reference recordings.
        files: Local copies of the checkpoints.
        make_loader: Makes what loads models; called once, when the first is needed, because it may import torch and
            fetch the base model.
        limit: Most models kept.
    """

    def __init__(self, store: ObjectStore, files: CheckpointFiles, make_loader: Callable[[], EngineLoader], limit: int) -> None:
        self._store = store
        self._files = files
        self._make_loader = make_loader
        self._loader: EngineLoader | None = None
        self._limit = limit
        self._models: OrderedDict[str, Loaded] = OrderedDict()
        self._latents: OrderedDict[tuple[str, str], VoiceLatents] = OrderedDict()
        self.loaded_names: tuple[str, ...] = ()
        """Of the models in memory, most recently used first; may be read by any thread."""

    def get(self, name: str) -> Loaded:
        """Returns a model, loading it first when it is not in memory, or has changed since.

        Args:
            name: Key of a checkpoint, or `base`.

        Raises:
            InvalidArgument: The name is no key of a checkpoint.
            CheckpointNotFound: There is none.
            NotACheckpoint: The object is something else.
            CheckpointMisfit: It was trained from another base model.
        """
        if name == BASE:
            return self._keep(self._models.get(BASE) or self._load_base())
        info = self._files.find(name)
        known = self._models.get(info.key)
        if known is not None and known.version == info.etag:
            return self._keep(known)
        # Not at the top of the module: it imports torch.
        from services.xtts.checkpoint import load_checkpoint

        began = time.monotonic()
        with self._files.hold(info) as path:  # its tensors are mapped from the file
            checkpoint = load_checkpoint(path)
            loaded = Loaded(
                name=info.key,
                version=info.etag,
                engine=self._engine_loader().load(checkpoint),
                language=checkpoint.language,
                voice=checkpoint.voice.latents,
                reference=_from_int16(checkpoint.voice.audio.numpy()),
                held_out=tuple(_from_int16(clip.numpy()) for clip in checkpoint.held_out),
            )
        logger.info("loaded %s in %.1f s", info.key, time.monotonic() - began)
        return self._keep(loaded)

    def voice(self, loaded: Loaded, speaker: str = "") -> VoiceLatents:
        """Returns the voice to speak with.

        Args:
            loaded: The model.
            speaker: Key of a reference recording, or of a checkpoint, whose reference is taken; empty for the model's own
                voice.

        Raises:
            InvalidArgument: The key is not allowed, or the recording is unreadable, too large or too short.
            SpeakerNotFound: There is no such recording.
            CheckpointNotFound: There is no such checkpoint.
            NoVoice: The model has no voice of its own.
        """
        if not speaker:
            if loaded.voice is None:
                raise NoVoice(
                    "This base model comes without a voice: name a reference recording as `speaker`, or use a checkpoint."
                )
            return loaded.voice
        if is_checkpoint(speaker):
            other = self._files.find(speaker)
            return self._condition(loaded, f"{other.key} {other.etag}", lambda: self._read_reference(other))
        check_name(speaker, field="speaker", under=SPEAKER_PREFIXES)
        info = self._store.stat(speaker)
        if info is None:
            raise SpeakerNotFound(f"There is no recording {speaker!r}: name one that /training/dataset/files lists.")
        if info.size > MAX_REFERENCE_BYTES:
            raise InvalidArgument(
                f"speaker is {speaker!r}: a reference recording may have at most {MAX_REFERENCE_BYTES // 1024**2} MB.",
                fields={"speaker": "too large"},
            )
        return self._condition(loaded, f"{info.key} {info.etag}", lambda: self._read(speaker))

    def voice_of(self, other: Loaded, loaded: Loaded) -> VoiceLatents:
        """Returns the voice of another model as `loaded` hears it, so that both speak in the same one.

        Fine-tuning changes how the model hears a voice, too: each is conditioned on the recording by itself.

        Raises:
            NoVoice: The other model has no recording of its voice.
        """
        reference = other.reference
        if reference is None:
            raise NoVoice("The model to compare with has no reference recording: choose a checkpoint.")
        return self._condition(loaded, f"{other.name} {other.version}", lambda: reference)

    def _condition(self, loaded: Loaded, source: str, read: Callable[[], Samples]) -> VoiceLatents:
        key = (f"{loaded.name} {loaded.version}", source)
        if key not in self._latents:
            self._latents[key] = loaded.engine.condition([read()])
        self._latents.move_to_end(key)
        while len(self._latents) > _CACHED_LATENTS:
            self._latents.popitem(last=False)
        return self._latents[key]

    def _read(self, key: str) -> Samples:
        from services.xtts.features import read_audio  # imports torch

        samples: Samples = read_audio(io.BytesIO(self._store.get(key))).numpy()
        return samples

    def _read_reference(self, info: ObjectInfo) -> Samples:
        from services.xtts.checkpoint import load_checkpoint  # imports torch

        # The weights stay in the file: it is mapped into memory, not read.
        with self._files.hold(info) as path:
            return _from_int16(load_checkpoint(path).voice.audio.numpy())

    def _load_base(self) -> Loaded:
        began = time.monotonic()
        engine = self._engine_loader().load(None)
        logger.info("loaded the base model in %.1f s", time.monotonic() - began)
        return Loaded(BASE, "", engine, DEFAULT_LANGUAGE, engine.own_voice())

    def _engine_loader(self) -> EngineLoader:
        if self._loader is None:
            self._loader = self._make_loader()
        return self._loader

    def _keep(self, loaded: Loaded) -> Loaded:
        self._models[loaded.name] = loaded
        self._models.move_to_end(loaded.name)
        while len(self._models) > self._limit:
            self._models.popitem(last=False)
        self.loaded_names = tuple(reversed(self._models))
        return loaded


def _from_int16(samples: npt.NDArray[np.int16]) -> Samples:
    return samples.astype(np.float32) / np.float32(32_768)
