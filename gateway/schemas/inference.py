"""JSON of `/training/inference/…`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body
from gateway.schemas.dataset import Language
from gateway.schemas.fields import Number, Seed, Speech, Text

_CHECKPOINT = "train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"
_TEXT = "Este é um teste de síntese de voz em português brasileiro."
_SPEAKER = "datasets/my_voice/segments/segment_00001.wav"


class SynthesisRequest(Body):
    """What to say, in which voice and how."""

    checkpoint: Annotated[Text, Field(examples=[_CHECKPOINT])]
    """Path of the checkpoint, or `base` for the base model."""

    text: Annotated[Speech, Field(examples=[_TEXT])]
    """Text to synthesize, 1 to 10,000 characters."""

    temperature: Annotated[float, Number(0.1, 1.5)] = 0.7
    """Sampling temperature (higher = more variation)."""

    speed: Annotated[float, Number(0.5, 2.0)] = 1.0
    """Speech speed multiplier."""

    language: Language | None = None
    """ISO 639-1 code of the text's language; without it the checkpoint's own."""

    speaker: Annotated[Text | None, Field(examples=[_SPEAKER])] = None
    """Object key of a reference WAV of the voice; without it the reference that is stored with the checkpoint."""

    seed: Annotated[Seed | None, Field(examples=[42])] = None
    """Seed of the sampling; without it a new one each time."""


class Synthesized(Answer):
    """The text has been spoken."""

    status: Literal["success"] = "success"
    audio_url: Annotated[str, Field(examples=["/files/inference/inference_20251206_143000.wav"])]
    """Where the WAV is: 22,050 Hz mono 16-bit."""
    text: Annotated[str, Field(examples=[_TEXT])]
    """What was asked for."""
    duration: Annotated[float, Field(examples=[3.72])]
    """Length of the audio in seconds."""
    real_time_factor: Annotated[float | None, Field(examples=[0.41])]
    """Seconds of computing for a second of audio."""


class ComparisonRequest(Body):
    """What the base model and a checkpoint shall both say."""

    checkpoint: Annotated[Text, Field(examples=[_CHECKPOINT])]
    """Path of the checkpoint."""

    text: Annotated[Speech, Field(examples=["Texto para comparação de qualidade."])]
    """Text to synthesize, 1 to 10,000 characters."""

    language: Language | None = None
    """ISO 639-1 code of the text's language; without it the checkpoint's own."""

    seed: Annotated[Seed | None, Field(examples=[42])] = None
    """Seed of the sampling; without it a new one each time."""


class Comparison(Answer):
    """Audio of both, and how near each comes to held-out recordings of the voice."""

    status: Literal["success"] = "success"
    base_audio: Annotated[str, Field(examples=["/files/ab_test/base_20251206_143000.wav"])]
    """What the base model said."""
    finetuned_audio: Annotated[str, Field(examples=["/files/ab_test/finetuned_20251206_143000.wav"])]
    """What the checkpoint said."""
    similarity: Annotated[float, Field(ge=0, le=100, examples=[85.5])]
    """Speaker similarity of the checkpoint's audio to the recordings, 0 to 100."""
    mfcc_score: Annotated[float, Field(ge=0, le=100, examples=[92.3])]
    """Nearness of its MFCCs to theirs, 0 to 100."""
    base_similarity: Annotated[float, Field(ge=0, le=100, examples=[71.2])]
    """`similarity` of the base model's audio."""
    base_mfcc_score: Annotated[float, Field(ge=0, le=100, examples=[80.1])]
    """`mfcc_score` of the base model's audio."""
