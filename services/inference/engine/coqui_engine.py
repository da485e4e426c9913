"""The engine on coqui's XTTS classes, on the CPU or a GPU, in single precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from TTS.tts.models.xtts import Xtts

from services.inference.engine.decoder import generate_codes
from services.inference.engine.interface import Samples, Sampling, Speech, SpeechCancelled
from services.inference.engine.sampling import Distribution
from services.inference.sentences import Limits
from services.xtts.build import read_config
from services.xtts.checkpoint import Checkpoint
from services.xtts.features import SAMPLE_RATE_HERTZ, VoiceLatents, conditioning_latents
from services.xtts.load import load_model, load_speakers
from services.xtts.text import TextEncoder

CODES_A_PIECE = 605
"""What XTTS-v2 generates at most, about 28 s; its character limits are what fits."""

SPARE_CODES = 43
"""Two seconds on top of what a piece's length allows: even one word takes some."""


@dataclass(frozen=True)
class CoquiEngine:
    """One loaded model.

    Attributes:
        model: In evaluation mode, on its device.
        encoder: Of its text.
        base_voice: That came with the base, if one did.
    """

    model: Xtts
    encoder: TextEncoder
    base_voice: VoiceLatents | None

    def language_code(self, language: str) -> str:
        """Returns the model's code for a language (see `Engine`)."""
        return self.encoder.check_language(language)

    def limits(self, language: str) -> Limits:
        """Returns how much text the model takes at one go (see `Engine`)."""

        def count_tokens(text: str) -> int:
            return len(self.encoder.tokenizer.encode(text.strip().lower(), language))

        # One less: the model asks for fewer than its maximum.
        return Limits(self.encoder.max_characters(language), self.encoder.max_tokens - 1, count_tokens)

    def condition(self, recordings: Sequence[Samples]) -> VoiceLatents:
        """Computes a voice from recordings of it (see `Engine`)."""
        return conditioning_latents(self.model, [torch.from_numpy(recording) for recording in recordings])

    def embed(self, recording: Samples) -> Samples:
        """Returns the speaker embedding of a recording (see `Engine`)."""
        audio = torch.from_numpy(recording).unsqueeze(0).to(self.model.device)
        embedding: Samples = self.model.get_speaker_embedding(audio, SAMPLE_RATE_HERTZ).flatten().cpu().numpy()
        return embedding

    def own_voice(self) -> VoiceLatents | None:
        """Returns the voice that came with the base (see `Engine`)."""
        return self.base_voice

    def speak(self, text: str, language: str, voice: VoiceLatents, sampling: Sampling, cancelled: Callable[[], bool]) -> Speech:
        """Speaks one piece of text (see `Engine`)."""
        device = self.model.device
        config = self.model.config
        tokens = torch.tensor([self.encoder.encode(text, language)], device=device)
        codes = generate_codes(
            self.model.gpt,
            tokens,
            voice.gpt_cond_latent.to(device),
            Distribution(sampling.temperature, config.top_k, config.top_p, config.repetition_penalty),
            generator=torch.Generator(device).manual_seed(sampling.seed),
            max_codes=self._max_codes(text, language),
            cancelled=cancelled,
        )
        if cancelled():
            raise SpeechCancelled
        return Speech(
            samples=self._vocode(codes.latents, voice, sampling.speed),
            sample_rate=self.model.args.output_sample_rate,
            stop_probabilities=codes.stop_probabilities.cpu().numpy(),
            finished=codes.finished,
        )

    def _max_codes(self, text: str, language: str) -> int:
        """Bounds the speech by its text, so that a model that misses the end babbles for seconds and not for half a minute.

        A text at the character limit may take all codes, a shorter one its share: for Portuguese, that is room for reading
        at 7 characters a second, half the usual pace.
        """
        share = len(text) / self.encoder.max_characters(language)
        return min(CODES_A_PIECE, math.ceil(CODES_A_PIECE * share) + SPARE_CODES)

    @torch.inference_mode()
    def _vocode(self, latents: torch.Tensor, voice: VoiceLatents, speed: float) -> Samples:
        if speed != 1.0:
            # As `Xtts.inference` does it: latents are stretched in time, which leaves the pitch.
            stretched = nn.functional.interpolate(latents.transpose(1, 2), scale_factor=1.0 / speed, mode="linear")
            latents = stretched.transpose(1, 2)
        wave = self.model.hifigan_decoder(latents, g=voice.speaker_embedding.to(self.model.device))
        return np.ascontiguousarray(wave.flatten().float().cpu().numpy())


class CoquiLoader:
    """Loads engines that share what does not differ between a base and its checkpoints.

    Args:
        base: The base's folder.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
    """

    def __init__(self, base: Path, device: str = "auto") -> None:
        self._base = base
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._encoder = TextEncoder.from_base(base, read_config(base / "config.json"))
        self._voice = next(iter(load_speakers(base).values()), None)
        self._decoder: nn.Module | None = None

    def load(self, checkpoint: Checkpoint | None) -> CoquiEngine:
        """Loads the base model, with the weights of a checkpoint in it if one is given (see `EngineLoader`)."""
        model = load_model(self._base, checkpoint)
        # Fine-tuning leaves the vocoder and the speaker encoder as they are: one copy serves all.
        if self._decoder is None:
            self._decoder = model.hifigan_decoder.to(self._device)
        model.hifigan_decoder = self._decoder
        return CoquiEngine(model.to(self._device), self._encoder, self._voice)
