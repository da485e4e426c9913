"""The tiny model, loaded once, and clips of two voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from TTS.tts.models.xtts import Xtts

from services.xtts.load import load_model
from timbre.demo.speech import make_recording


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path) -> Xtts:
    """Not to be changed."""
    return load_model(tiny_base)


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Recordings of some seconds at 22,050 Hz: two sentences by a low voice, one by espeak-ng's second female voice."""
    folder = tmp_path_factory.mktemp("voices")
    said = {
        "low": ("Hoje à tarde vamos caminhar pela praia.", "pt-br"),
        "low again": ("O trem parte às sete horas da manhã.", "pt-br"),
        "high": ("Ela não sabia que a estação ficava perto.", "pt-br+f2"),
    }
    clips = {}
    for name, (sentence, voice) in said.items():
        make_recording(folder / f"{name}.wav", [sentence], voice=voice)
        samples, rate = soundfile.read(folder / f"{name}.wav", dtype="float32")
        assert rate == 22_050
        clips[name] = torch.from_numpy(np.ascontiguousarray(samples))
    return clips
