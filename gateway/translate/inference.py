"""Between protos and the JSON of speech, its history, comparisons and votes."""

# ruff: noqa: D103 - the names and types of these functions say all there is to say

from __future__ import annotations

from timbre.inference.v1 import inference_pb2

from gateway.schemas import inference
from gateway.translate.values import Link, given, moment

_PREFERENCES: dict[str, inference_pb2.Preference.ValueType] = {
    "base": inference_pb2.PREFERENCE_BASE,
    "finetuned": inference_pb2.PREFERENCE_FINETUNED,
    "tie": inference_pb2.PREFERENCE_TIE,
}


def synthesis_request(body: inference.SynthesisRequest) -> inference_pb2.SynthesizeRequest:
    return inference_pb2.SynthesizeRequest(parameters=_parameters(body))


def stream_request(body: inference.StreamRequest) -> inference_pb2.SynthesizeStreamRequest:
    # bare samples as the model's service has them, 22,050 Hz; AUDIO_FORMAT_PCM is OpenAI's, 24,000 Hz
    audio_format = inference_pb2.AUDIO_FORMAT_WAV if body.format == "wav" else inference_pb2.AUDIO_FORMAT_UNSPECIFIED
    return inference_pb2.SynthesizeStreamRequest(parameters=_parameters(body), format=audio_format)


def _parameters(body: inference.SynthesisRequest) -> inference_pb2.SpeechParameters:
    return inference_pb2.SpeechParameters(
        checkpoint=body.checkpoint,
        text=body.text,
        temperature=body.temperature,
        speed=body.speed,
        language=body.language or "",
        speaker=body.speaker or "",
        seed=body.seed,
    )


def synthesized(body: inference.SynthesisRequest, reply: inference_pb2.SynthesizeResponse, link: Link) -> inference.Synthesized:
    return inference.Synthesized(
        audio_url=link(reply.audio_key),
        text=body.text,
        duration=reply.duration_seconds,
        real_time_factor=reply.real_time_factor,
    )


def comparison_request(body: inference.ComparisonRequest) -> inference_pb2.CompareCheckpointRequest:
    return inference_pb2.CompareCheckpointRequest(
        checkpoint=body.checkpoint, text=body.text, language=body.language or "", seed=body.seed, against=body.against
    )


def comparison(reply: inference_pb2.CompareCheckpointResponse, link: Link) -> inference.Comparison:
    return inference.Comparison(
        base_audio=link(reply.base_audio_key),
        finetuned_audio=link(reply.finetuned_audio_key),
        similarity=reply.similarity,
        mfcc_score=reply.mfcc_score,
        base_similarity=reply.base_similarity,
        base_mfcc_score=reply.base_mfcc_score,
        comparison_id=reply.comparison_id,
    )


def utterance(message: inference_pb2.Utterance, link: Link) -> inference.Utterance:
    return inference.Utterance(
        id=message.utterance_id,
        path=message.audio_key,
        audio_url=link(message.audio_key),
        text=message.text,
        checkpoint=message.checkpoint,
        temperature=message.temperature,
        speed=message.speed,
        language=message.language,
        speaker=message.speaker or None,
        seed=message.seed,
        duration_s=message.duration_seconds,
        real_time_factor=message.real_time_factor,
        created_at=moment(message.create_time),
    )


def history(reply: inference_pb2.ListUtterancesResponse, link: Link) -> inference.History:
    return inference.History(utterances=[utterance(one, link) for one in reply.utterances])


def utterance_deleted(reply: inference_pb2.DeleteUtteranceResponse) -> inference.UtteranceDeleted:
    return inference.UtteranceDeleted(id=reply.utterance_id)


def vote(body: inference.Vote) -> inference_pb2.CastVoteRequest:
    return inference_pb2.CastVoteRequest(
        comparison_id=body.comparison_id, preferred=_PREFERENCES[body.preferred], blind=body.blind
    )


def votes(tally: inference_pb2.VoteTally) -> inference.Votes:
    return inference.Votes(
        checkpoint=tally.checkpoint,
        against=tally.against,
        finetuned=tally.finetuned_count,
        base=tally.base_count,
        ties=tally.tie_count,
        blind=tally.blind_count,
        preference=given(tally, "preference"),
        low=tally.low,
        high=tally.high,
    )
