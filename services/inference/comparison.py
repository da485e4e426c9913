"""The A/B test: the same text by a checkpoint and by another model, each scored against recordings of the voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.inference.compare import mfcc_score, speaker_similarity
from services.inference.engine.interface import Engine, Sampling
from services.inference.loaded import Voices
from services.inference.synthesis import SAMPLE_RATE_HERTZ, Cancelled, Samples, speak
from services.runtime.errors import FailedPrecondition
from services.runtime.keys import check_name
from services.voices.checkpoints import BASE, ROOT

MIN_SCORED_SECONDS = 0.5
"""Shorter audio is filled up with silence before it is scored: the speaker encoder needs some frames."""


class NothingToCompareWith(FailedPrecondition):
    """The checkpoint carries no recordings of its voice."""


@dataclass(frozen=True)
class Scores:
    """How near speech comes to a voice, each from 0 to 100 (see `services.inference.compare`)."""

    similarity: float
    mfcc_score: float


@dataclass(frozen=True)
class Comparison:
    """What both models said, 22,050 Hz, and how near each comes to the voice.

    Attributes:
        checkpoint: Key of the checkpoint.
        against: Key of the other one, or `base`.
        base: What that other one said.
        finetuned: What the checkpoint said.
        base_scores: Of the other.
        finetuned_scores: Of the checkpoint.
    """

    checkpoint: str
    against: str
    base: Samples
    finetuned: Samples
    base_scores: Scores
    finetuned_scores: Scores


def compare(
    voices: Voices, checkpoint: str, against: str, text: str, language: str, sampling: Sampling, cancelled: Cancelled
) -> Comparison:
    """Speaks a text with a checkpoint and with another model, and scores both.

    Both are conditioned on the reference recording of the checkpoint, so that the difference is what tuning did and not
    another voice. Both are scored against recordings that training did not see; a checkpoint that carries none of those
    (its dataset was too small to hold any out) against its reference recording, which favours neither.

    Args:
        voices: The models.
        checkpoint: Key of the checkpoint.
        against: Key of another checkpoint, or `base`.
        text: What both say.
        language: Code of the text's language; empty for the checkpoint's own.
        sampling: How codes are drawn, by both with the same seed.
        cancelled: Asked before each token.

    Raises:
        TimbreError: What `Voices.get` and `speak` raise.
        NothingToCompareWith: The checkpoint carries no recordings at all.
        SpeechCancelled: `cancelled` returned true.
    """
    check_name(checkpoint, field="checkpoint", under=(ROOT,))
    tuned = voices.get(checkpoint)
    recordings = [*tuned.held_out] or ([] if tuned.reference is None else [tuned.reference])
    recordings = [recording for recording in recordings if np.any(recording)]
    if not recordings:
        raise NothingToCompareWith("The checkpoint carries no recordings of its voice: train it again, or choose another one.")
    other = voices.get(against or BASE)
    language = language or tuned.language
    by_base, by_tuned = (
        np.concatenate(list(speak(model, voice, text, language, sampling, cancelled)))
        for model, voice in ((other, voices.voice_of(tuned, other)), (tuned, voices.voice(tuned)))
    )
    # The speaker encoder is the same in both: fine-tuning leaves it alone.
    return Comparison(
        checkpoint=tuned.name,
        against=other.name,
        base=by_base,
        finetuned=by_tuned,
        base_scores=score(tuned.engine, by_base, recordings),
        finetuned_scores=score(tuned.engine, by_tuned, recordings),
    )


def score(engine: Engine, speech: Samples, recordings: Sequence[Samples]) -> Scores:
    """Scores speech against recordings of a voice.

    Args:
        engine: Whose speaker encoder is asked.
        speech: What is judged, 22,050 Hz.
        recordings: Of the voice, 22,050 Hz; at least one.
    """
    needed = round(MIN_SCORED_SECONDS * SAMPLE_RATE_HERTZ)
    filled = [np.pad(samples, (0, max(0, needed - len(samples)))) for samples in (speech, *recordings)]
    embedding, *voice_embeddings = map(engine.embed, filled)
    return Scores(speaker_similarity(embedding, voice_embeddings), mfcc_score(speech, recordings))
