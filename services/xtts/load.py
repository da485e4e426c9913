"""Loads models from a base folder and a checkpoint, without ever running code from a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from TTS.tts.layers.xtts.dvae import DiscreteVAE
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models import xtts as coqui_xtts
from TTS.tts.models.xtts import Xtts

from services.xtts.base import SPEAKERS_FILE, BaseIncomplete, check_base, fingerprint
from services.xtts.build import build_dvae, build_model, quiet_config_checks, read_config
from services.xtts.checkpoint import Checkpoint, CheckpointMisfit
from services.xtts.features import VoiceLatents

_INFERENCE_ALIASES = ("gpt.gpt_inference.", "gpt.gpt.wte.")
"""Second names of weights that coqui's inference wrapper adds, and that some published files were stored with."""


def load_model(folder: Path, checkpoint: Checkpoint | None = None) -> Xtts:
    """Loads a model for inference on the CPU: everything in evaluation mode and `generate` ready.

    Args:
        folder: A base folder.
        checkpoint: A fine-tuned GPT to take the place of the base's; the base's voice parts stay.

    Raises:
        BaseIncomplete: A file is missing, damaged, or of another model.
        CheckpointMisfit: The checkpoint was trained from another base.
    """
    model = load_for_training(folder)
    if checkpoint is not None:
        check_fits(checkpoint, folder)
        load_gpt(model, checkpoint)
    with quiet_config_checks():
        model.eval()
    return model


def load_for_training(folder: Path) -> Xtts:
    """Loads a model without the inference wrapper of its GPT: the GPT's state dict then has each weight once.

    Raises:
        BaseIncomplete: A file is missing, damaged, or of another model.
    """
    check_base(folder)
    config = read_config(folder / "config.json")
    model = build_model(config, VoiceBpeTokenizer(str(folder / "vocab.json")), filled=False)
    # mel_stats.pth is what training divides by; some published model.pth carry the same figures, some none.
    weights = {**read_base_weights(folder), "mel_stats": load_mel_stats(folder)}
    _assign(model, weights, folder / "model.pth")
    model.gpt.eval()
    model.hifigan_decoder.eval()
    return model


def check_fits(checkpoint: Checkpoint, folder: Path) -> None:
    """Checks that a checkpoint was trained from a base.

    Raises:
        CheckpointMisfit: It was trained from another.
    """
    if checkpoint.base_fingerprint != fingerprint(folder):
        raise CheckpointMisfit(checkpoint.base_name)


def load_gpt(model: Xtts, checkpoint: Checkpoint) -> None:
    """Puts a checkpoint's weights into the GPT of a model.

    Raises:
        CheckpointMisfit: They are of a model with other dimensions.
    """
    try:
        missing, unexpected = model.gpt.load_state_dict(checkpoint.gpt, strict=False)
    except RuntimeError as error:
        raise CheckpointMisfit(checkpoint.base_name) from error
    if unexpected or any(not f"gpt.{name}".startswith(_INFERENCE_ALIASES) for name in missing):
        raise CheckpointMisfit(checkpoint.base_name)


def read_base_weights(folder: Path) -> dict[str, Tensor]:
    """Reads a base's model.pth, mapped into memory: the weights by the names of coqui's `Xtts.state_dict()`.

    Raises:
        BaseIncomplete: The file is damaged or of another kind.
    """
    content = _read_weights(folder / "model.pth")
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise BaseIncomplete("The base model's model.pth holds no XTTS model: replace it.")
    return {name: value for name, value in content["model"].items() if not name.startswith(_INFERENCE_ALIASES)}


def load_dvae(folder: Path) -> DiscreteVAE:
    """Loads the DVAE that turns audio into codes, in evaluation mode, on the CPU.

    Raises:
        BaseIncomplete: The file is missing, damaged, or of another model.
    """
    check_base(folder)
    dvae = build_dvae(read_config(folder / "config.json"))
    weights = _read_weights(folder / "dvae.pth")
    # The published file lacks the buffers of a training loss that plays no part here.
    own = {name: value for name, value in dvae.state_dict().items() if name.startswith("discrete_loss.")}
    _assign(dvae, {**own, **weights}, folder / "dvae.pth")
    return dvae


def load_mel_stats(folder: Path) -> Tensor:
    """Loads what log mel spectrograms are divided by, float32, [80]."""
    stats = _read_weights(folder / "mel_stats.pth")
    if not isinstance(stats, Tensor) or stats.shape != (80,):
        raise BaseIncomplete("The base model's mel_stats.pth is not the file published for XTTS-v2: replace it.")
    return stats.float()


def load_speakers(folder: Path) -> dict[str, VoiceLatents]:
    """Loads the voices that come with a base, by their names; none when it has none.

    Raises:
        BaseIncomplete: The file is damaged or of another kind.
    """
    path = folder / SPEAKERS_FILE
    if not path.is_file():
        return {}
    try:
        return {
            str(name): VoiceLatents(voice["gpt_cond_latent"].float(), voice["speaker_embedding"].float())
            for name, voice in _read_weights(path).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise BaseIncomplete(f"The base model's {SPEAKERS_FILE} holds no voices: replace or remove it.") from error


def _read_weights(path: Path) -> Any:
    """Reads a file of tensors, mapped into memory, refusing everything that is not plain data.

    coqui's published model.pth holds its configuration as an object of coqui's own classes, which are allowed here.
    """
    try:
        with coqui_xtts._legacy_safe_globals():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise BaseIncomplete(f"The base model's {path.name} is damaged or no file of weights: replace it.") from error


def _assign(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise BaseIncomplete(f"The base model's {path.name} does not fit its config.json: replace both.") from error
