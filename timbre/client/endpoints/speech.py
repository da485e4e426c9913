"""Requests for speech, and about what was spoken."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from gateway.schemas import inference
from timbre.client.request import Request, endpoint

BASE = "base"
"""The base model, where a checkpoint is asked for."""

_SPEECH_SECONDS = 90.0  # the server gives up after 60 s
_COMPARISON_SECONDS = 210.0


class SpeechEndpoints:
    """Speech. `checkpoint` is a path as `checkpoints` lists it, or `base`; `speaker` the path of a recording."""

    @endpoint
    def synthesize(
        self,
        text: str,
        checkpoint: str = BASE,
        *,
        temperature: float | None = None,
        speed: float | None = None,
        language: str | None = None,
        speaker: str | None = None,
        seed: int | None = None,
    ) -> Request[inference.Synthesized]:
        """Speaks a text; `fetch(answer.audio_url)` gets the audio."""
        body = speech_body(text, checkpoint, temperature, speed, language, speaker, seed)
        path = "/training/inference/synthesize"
        return Request("POST", path, inference.Synthesized, json=body, timeout_seconds=_SPEECH_SECONDS)

    @endpoint
    def ab_test(
        self,
        checkpoint: str,
        text: str,
        *,
        against: str | None = None,
        language: str | None = None,
        seed: int | None = None,
    ) -> Request[inference.Comparison]:
        """Speaks a text with a checkpoint and with the base model, or another one; scores both against the voice."""
        body = {"checkpoint": checkpoint, "text": text, "against": against, "language": language, "seed": seed}
        path = "/training/inference/ab-test"
        return Request("POST", path, inference.Comparison, json=body, timeout_seconds=_COMPARISON_SECONDS)

    @endpoint
    def vote(
        self, comparison_id: str, preferred: Literal["base", "finetuned", "tie"], *, blind: bool = False
    ) -> Request[inference.Votes]:
        """Says which side of a comparison is preferred, and returns all votes on these two models."""
        body = {"comparison_id": comparison_id, "preferred": preferred, "blind": blind}
        return Request("POST", "/training/inference/votes", inference.Votes, json=body)

    @endpoint
    def votes(self, checkpoint: str, *, against: str | None = None) -> Request[inference.Votes]:
        """Counts the votes on the comparisons of two models, with a confidence interval."""
        params = {"checkpoint": checkpoint, "against": against}
        return Request("GET", "/training/inference/votes", inference.Votes, params)

    @endpoint
    def history(
        self, *, checkpoint: str | None = None, limit: int | None = None, before: str | None = None
    ) -> Request[inference.History]:
        """Lists what was spoken, newest first; `before` an utterance's id for the next page."""
        params = {"checkpoint": checkpoint, "limit": limit, "before": before}
        return Request("GET", "/training/inference/history", inference.History, params)

    @endpoint
    def delete_utterance(self, utterance_id: str) -> Request[inference.UtteranceDeleted]:
        """Deletes something that was spoken, audio and all."""
        path = f"/training/inference/history/{quote(utterance_id, safe='')}"
        return Request("DELETE", path, inference.UtteranceDeleted)


def speech_body(
    text: str,
    checkpoint: str,
    temperature: float | None,
    speed: float | None,
    language: str | None,
    speaker: str | None,
    seed: int | None,
) -> dict[str, object]:
    """Returns the body of a request for speech."""
    return {
        "text": text,
        "checkpoint": checkpoint,
        "temperature": temperature,
        "speed": speed,
        "language": language,
        "speaker": speaker,
        "seed": seed,
    }
