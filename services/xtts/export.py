"""Writes a checkpoint as a folder that stock coqui-tts loads, and that serves as a base for further training."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from services.runtime.errors import AlreadyExists
from services.xtts.checkpoint import Checkpoint
from services.xtts.features import SAMPLE_RATE_HERTZ
from services.xtts.load import check_fits, read_base_weights


class FolderExists(AlreadyExists):
    """The folder to export to is there."""


def export_folder(checkpoint: Checkpoint, base: Path, target: Path) -> None:
    """Writes the whole model as a folder, which appears only when it is complete.

    It holds the five files of a base (config.json, vocab.json, mel_stats.pth, dvae.pth and model.pth), speakers_xtts.pth
    with the reference voice under the model's name, and that voice as reference.wav. Stock coqui-tts loads it with
    `Xtts.load_checkpoint(config, checkpoint_dir=...)`, unless the base is a stand-in whose fixed-size parts are shrunk.

    Args:
        checkpoint: What to export.
        base: The folder of the base it was trained from.
        target: Where to; must not exist.

    Raises:
        FolderExists: The target is there.
        CheckpointMisfit: The base is another one.
    """
    if target.exists():
        raise FolderExists(f"The folder {target.name!r} exists: name one that does not.")
    check_fits(checkpoint, base)
    weights = {name: value for name, value in read_base_weights(base).items() if not name.startswith("gpt.")}
    weights.update({f"gpt.{name}": value for name, value in checkpoint.gpt.items()})
    latents = checkpoint.voice.latents
    # In this order: coqui takes the two values apart by position.
    speaker = {"gpt_cond_latent": latents.gpt_cond_latent, "speaker_embedding": latents.speaker_embedding}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(checkpoint.config, indent=2) + "\n", encoding="utf-8")
        for name in ("vocab.json", "mel_stats.pth", "dvae.pth"):
            shutil.copyfile(base / name, folder / name)
        torch.save({"config": checkpoint.config, "model": weights}, folder / "model.pth")
        torch.save({checkpoint.model_name: speaker}, folder / "speakers_xtts.pth")
        soundfile.write(folder / "reference.wav", np.asarray(checkpoint.voice.audio), SAMPLE_RATE_HERTZ, "PCM_16")
        folder.rename(target)
