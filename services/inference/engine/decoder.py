"""Generates audio codes with coqui's GPT, one at a time, and keeps the latents that the vocoder needs.

coqui's `Xtts.inference` draws all codes with transformers' `generate`, then runs the whole GPT a second time to get the
latents: those are the hidden states that the codes were drawn from, so here they are kept. An own loop also tells the
probability of the stop token at each step, can be cancelled between tokens, takes its randomness from a generator of its
own, and does not depend on `generate`, which transformers changes now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from TTS.tts.layers.xtts.gpt import GPT

from services.inference.engine.interface import SpeechCancelled
from services.inference.engine.sampling import Distribution, draw

_PLACEHOLDER_CODE = 1
"""coqui's `GPT.compute_embeddings` hands `generate` a prompt of this code, which so counts as drawn before."""


@dataclass(frozen=True)
class Codes:
    """What the GPT generated.

    Attributes:
        latents: The state each code was drawn from, the stop token's included, shape [1, steps, width].
        stop_probabilities: Probability of the stop token at each step, before anything is done to it, shape [steps].
        finished: Whether the stop token was drawn.
    """

    latents: Tensor
    stop_probabilities: Tensor
    finished: bool


@torch.inference_mode()
def generate_codes(
    gpt: GPT,
    text_tokens: Tensor,
    voice_latent: Tensor,
    distribution: Distribution,
    *,
    generator: torch.Generator,
    max_codes: int,
    cancelled: Callable[[], bool],
) -> Codes:
    """Generates the codes of one piece of text.

    Args:
        gpt: In evaluation mode.
        text_tokens: Of the piece, int64, shape [1, tokens].
        voice_latent: What the GPT sees of the voice, shape [1, 32, width].
        distribution: How codes are drawn.
        generator: The source of randomness, on the model's device.
        max_codes: After so many the speech is cut off.
        cancelled: Asked before each code.

    Raises:
        SpeechCancelled: `cancelled` returned true.
    """
    seen = torch.zeros(gpt.num_audio_tokens, dtype=torch.bool, device=text_tokens.device)
    seen[[_PLACEHOLDER_CODE, gpt.start_audio_token]] = True
    start = torch.tensor([gpt.start_audio_token], device=text_tokens.device)
    inputs = torch.cat([voice_latent, _embed_text(gpt, text_tokens), _embed_code(gpt, start, 0)], dim=1)
    latents: list[Tensor] = []
    stop_probabilities: list[Tensor] = []
    cache = None
    finished = False
    while len(latents) < min(max_codes, gpt.max_gen_mel_tokens) and not finished:
        if cancelled():
            raise SpeechCancelled
        output = gpt.gpt(inputs_embeds=inputs, past_key_values=cache, use_cache=True, return_dict=True)
        cache = output.past_key_values
        latent = gpt.final_norm(output.last_hidden_state[:, -1:])
        logits = gpt.mel_head(latent)[0, 0].float()
        latents.append(latent)
        stop_probabilities.append(torch.softmax(logits, dim=-1)[gpt.stop_audio_token])
        code = draw(logits, seen, distribution, generator)
        seen[code] = True
        finished = int(code) == gpt.stop_audio_token
        inputs = _embed_code(gpt, code, len(latents))
    return Codes(torch.cat(latents, dim=1), torch.stack(stop_probabilities), finished)


def _embed_text(gpt: GPT, tokens: Tensor) -> Tensor:
    """Embeds text tokens between the start and the stop token, shape [1, tokens + 2, width]."""
    framed = torch.nn.functional.pad(tokens, (1, 0), value=gpt.start_text_token)
    framed = torch.nn.functional.pad(framed, (0, 1), value=gpt.stop_text_token)
    embedded: Tensor = gpt.text_embedding(framed) + gpt.text_pos_embedding(framed)
    return embedded


def _embed_code(gpt: GPT, code: Tensor, position: int) -> Tensor:
    """Embeds one code (shape [1]) at its position behind the text, shape [1, 1, width]."""
    embedded: Tensor = gpt.mel_embedding(code)[None] + gpt.mel_pos_embedding.get_fixed_embedding(position, code.device)
    return embedded
