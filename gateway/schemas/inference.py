"""JSON of `/training/inference/…`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body, Moment
from gateway.schemas.dataset import Language
from gateway.schemas.fields import Flag, Number, Seed, Speech, Text

_CHECKPOINT = "train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"
_TEXT = "Este é um teste de síntese de voz em português brasileiro."
_SPEAKER = "datasets/my_voice/segments/segment_00001.wav"
_UTTERANCE = "inference_20251206_143000"
_COMPARISON = "comparison_20251206_143000"

Limit = Annotated[int, Number(1, 1000, whole=True, from_text=True)]
Share = Annotated[float, Field(ge=0, le=1)]


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


class StreamRequest(SynthesisRequest):
    """What to say, in which voice and how, and how the audio is written."""

    format: Literal["wav", "pcm"] = "wav"
    """`wav`, whose header says that its length is not known, or bare samples (`pcm`): both 22,050 Hz mono 16-bit."""


class Utterance(Answer):
    """Something that was spoken, and is kept."""

    id: Annotated[str, Field(examples=[_UTTERANCE])]
    """Its name; names sort by time."""
    path: Annotated[str, Field(examples=[f"inference/{_UTTERANCE}.wav"])]
    """Object key of the WAV."""
    audio_url: Annotated[str, Field(examples=[f"/files/inference/{_UTTERANCE}.wav"])]
    """Where the WAV is."""
    text: Annotated[str, Field(examples=[_TEXT])]
    """What was said."""
    checkpoint: Annotated[str, Field(examples=[_CHECKPOINT])]
    """Path of the checkpoint, or `base`."""
    temperature: Annotated[float, Field(examples=[0.7])]
    """Sampling temperature."""
    speed: Annotated[float, Field(examples=[1.0])]
    """Speech speed multiplier."""
    language: Annotated[str, Field(examples=["pt"])]
    """ISO 639-1 code of the language."""
    speaker: Annotated[str | None, Field(examples=[None])]
    """Object key of the reference WAV; null when the model spoke in its own voice."""
    seed: Annotated[int, Field(examples=[42])]
    """Seed of the sampling: with it and all else the same, the same is said again."""
    duration_s: Annotated[float, Field(examples=[3.72])]
    """Length of the audio in seconds."""
    real_time_factor: Annotated[float, Field(examples=[0.41])]
    """Seconds of computing for a second of audio."""
    created_at: Moment


class History(Answer):
    """What was spoken, newest first."""

    utterances: list[Utterance]


class UtteranceDeleted(Answer):
    """The utterance is gone, audio and all."""

    status: Literal["deleted"] = "deleted"
    id: Annotated[str, Field(examples=[_UTTERANCE])]


class ComparisonRequest(Body):
    """What a checkpoint and another model shall both say."""

    checkpoint: Annotated[Text, Field(examples=[_CHECKPOINT])]
    """Path of the checkpoint."""

    text: Annotated[Speech, Field(examples=["Texto para comparação de qualidade."])]
    """Text to synthesize, 1 to 10,000 characters."""

    against: Annotated[Text, Field(examples=["base"])] = "base"
    """What it is compared with: `base`, or the path of another checkpoint. `base_…` in the answer is then that one."""

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
    comparison_id: Annotated[str, Field(examples=[_COMPARISON])]
    """Name of the comparison, to vote on it."""


class Vote(Body):
    """Which side of a comparison is preferred."""

    comparison_id: Annotated[Text, Field(examples=[_COMPARISON])]
    """Name of the comparison, as `ab-test` answers it."""

    preferred: Literal["base", "finetuned", "tie"]
    """`finetuned` is the checkpoint, `base` what it was compared with."""

    blind: Flag = False
    """Whether the voter did not know which side was which."""


class Votes(Answer):
    """The votes on the comparisons of two models."""

    checkpoint: Annotated[str, Field(examples=[_CHECKPOINT])]
    against: Annotated[str, Field(examples=["base"])]
    """What it was compared with."""
    finetuned: Annotated[int, Field(examples=[14])]
    """Votes for the checkpoint."""
    base: Annotated[int, Field(examples=[4])]
    """Votes for the other."""
    ties: Annotated[int, Field(examples=[2])]
    """Votes for neither."""
    blind: Annotated[int, Field(examples=[20])]
    """How many of all were cast blind."""
    preference: Annotated[Share | None, Field(examples=[0.778])]
    """Share of the checkpoint in the votes for either; null when there are none."""
    low: Annotated[Share, Field(examples=[0.548])]
    """Lower end of the 95 % confidence interval of `preference` (Wilson 1927)."""
    high: Annotated[Share, Field(examples=[0.91])]
    """Upper end of it."""
