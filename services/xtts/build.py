"""Builds coqui's XTTS classes from a base folder's config.json, at full size or shrunk.

XTTS-v2's width, depth and vocabulary come from its configuration, but coqui's classes fix the size of the vocoder, the
speaker encoder, the conditioning encoder, the perceiver and the DVAE. `Shrink` carries those dimensions for stand-ins; a
base folder states them under the key `timbre` of its config.json, which stock coqui-tts ignores.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from TTS.encoder.models.resnet import ResNetSpeakerEncoder
from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
from TTS.tts.layers.tortoise.autoregressive import ConditioningEncoder
from TTS.tts.layers.xtts import gpt as coqui_gpt
from TTS.tts.layers.xtts import hifigan_decoder as coqui_hifigan
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
from TTS.tts.layers.xtts.perceiver_encoder import PerceiverResampler
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models import xtts as coqui_xtts
from TTS.tts.models.xtts import Xtts

EXTRA_KEY = "timbre"
"""Key of config.json under which a base folder of ours says what coqui's configuration cannot."""

_patching = threading.Lock()


@dataclass(frozen=True)
class Shrink:
    """Dimensions that coqui's classes fix. The defaults are coqui's own, those of XTTS-v2.

    Attributes:
        vocoder_channels: HiFi-GAN's channels before the first upsampling; each of the four stages halves them.
        speaker_filters: Channels of the four stages of the speaker encoder, each a multiple of 8.
        speaker_blocks: Residual blocks of the four stages.
        conditioning_blocks: Attention blocks of the conditioning encoder, which looks at up to 517 frames at once.
        perceiver_heads: Attention heads of the perceiver that pools the conditioning frames.
        perceiver_head_size: Width of one of those heads.
        dvae_width: Hidden channels of the DVAE; its second layer has twice as many.
        dvae_code_width: Width of one codebook entry.
        dvae_blocks: Residual blocks of the DVAE.
    """

    vocoder_channels: int = 512
    speaker_filters: tuple[int, ...] = (32, 64, 128, 256)
    speaker_blocks: tuple[int, ...] = (3, 4, 6, 3)
    conditioning_blocks: int = 6
    perceiver_heads: int = 8
    perceiver_head_size: int = 64
    dvae_width: int = 512
    dvae_code_width: int = 512
    dvae_blocks: int = 3

    @property
    def is_stock(self) -> bool:
        """Whether stock coqui-tts builds the same classes by itself."""
        return self == Shrink(dvae_width=self.dvae_width, dvae_code_width=self.dvae_code_width, dvae_blocks=self.dvae_blocks)

    def to_json(self) -> dict[str, Any]:
        """Returns the dimensions as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Shrink:
        """Returns the dimensions that `to_json` wrote."""
        sizes: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in values.items()}
        return cls(**sizes)


@dataclass(frozen=True)
class BaseConfig:
    """What a base folder's config.json says.

    Attributes:
        raw: The whole file, as JSON values.
        xtts: coqui's configuration.
        shrink: Dimensions of the parts that coqui's classes fix.
    """

    raw: dict[str, Any]
    xtts: XttsConfig
    shrink: Shrink


def read_config(path: Path) -> BaseConfig:
    """Reads a config.json of XTTS-v2, published or ours.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON.
    """
    return parse_config(json.loads(path.read_text(encoding="utf-8")))


def parse_config(raw: dict[str, Any]) -> BaseConfig:
    """Returns the configuration held in the JSON values of a config.json."""
    config = XttsConfig()
    config.from_dict({key: value for key, value in raw.items() if key != EXTRA_KEY})
    shrink = raw.get(EXTRA_KEY, {}).get("shrink", {})
    return BaseConfig(raw=raw, xtts=config, shrink=Shrink.from_json(shrink))


_RANDOM_FILLS = frozenset({"normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"})
"""Names, because transformers puts functions of its own in the place of those of torch.nn.init."""


class _Unfilled(TorchFunctionMode):
    """While it is active, weights are made without the random numbers that would be overwritten at once."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__name__", "") in _RANDOM_FILLS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def build_model(config: BaseConfig, tokenizer: VoiceBpeTokenizer, *, filled: bool = True) -> Xtts:
    """Builds an `Xtts` with its tokenizer, on the CPU and in training mode.

    Args:
        config: The base's configuration.
        tokenizer: The base's tokenizer.
        filled: Whether the weights are random as coqui makes them; otherwise they are whatever is in memory, which saves
            half a minute at full size when they are about to be loaded.
    """
    arguments: XttsArgs = config.xtts.model_args
    arguments.gpt_number_text_tokens = tokenizer.get_number_tokens()
    arguments.gpt_start_text_token = tokenizer.tokenizer.token_to_id("[START]")
    arguments.gpt_stop_text_token = tokenizer.tokenizer.token_to_id("[STOP]")
    with _shrunk_classes(config.shrink), quiet_config_checks(), contextlib.nullcontext() if filled else _Unfilled():
        model = Xtts(config.xtts)
    model.tokenizer = tokenizer
    return model


def build_dvae(config: BaseConfig) -> DiscreteVAE:
    """Builds the DVAE whose codes the GPT predicts, with random weights, in evaluation mode.

    The arguments are those of coqui's GPTTrainer; the last two codes of the GPT are its start and stop tokens.
    """
    dvae = DiscreteVAE(
        channels=80,
        normalization=None,
        positional_dims=1,
        num_tokens=config.xtts.model_args.gpt_num_audio_tokens - 2,
        codebook_dim=config.shrink.dvae_code_width,
        hidden_dim=config.shrink.dvae_width,
        num_resnet_blocks=config.shrink.dvae_blocks,
        kernel_size=3,
        num_layers=2,
        use_transposed_convs=False,
    )
    return dvae.eval()


@contextlib.contextmanager
def quiet_config_checks() -> Iterator[None]:
    """Silences transformers' remarks on GPT-2's unused token numbers, which coqui's GPT leaves at their defaults."""
    logger = logging.getLogger("transformers.configuration_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _shrunk_classes(shrink: Shrink) -> Iterator[None]:
    """Makes coqui's modules build the fixed-size parts with other dimensions while the context is open."""
    if shrink.is_stock:
        yield
        return
    replacements = (
        (coqui_gpt, "ConditioningEncoder", _fixing(ConditioningEncoder, attn_blocks=shrink.conditioning_blocks)),
        (
            coqui_gpt,
            "PerceiverResampler",
            _fixing(PerceiverResampler, heads=shrink.perceiver_heads, dim_head=shrink.perceiver_head_size),
        ),
        (coqui_xtts, "HifiDecoder", _fixing(HifiDecoder, upsample_initial_channel_decoder=shrink.vocoder_channels)),
        (
            coqui_hifigan,
            "ResNetSpeakerEncoder",
            _fixing(ResNetSpeakerEncoder, layers=list(shrink.speaker_blocks), num_filters=list(shrink.speaker_filters)),
        ),
    )
    with _patching:
        originals = [getattr(module, name) for module, name, _ in replacements]
        try:
            for module, name, replacement in replacements:
                setattr(module, name, replacement)
            yield
        finally:
            for (module, name, _), original in zip(replacements, originals, strict=True):
                setattr(module, name, original)


def _fixing(cls: type[torch.nn.Module], **fixed: Any) -> Callable[..., Any]:
    """Returns a factory for `cls` whose `fixed` arguments win over the caller's (functools.partial's would lose)."""

    def build(*arguments: Any, **named: Any) -> torch.nn.Module:
        return cls(*arguments, **{**named, **fixed})

    return build
