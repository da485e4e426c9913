"""A poor Whisper stand-in, for tests to which the words do not matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from timbre.demo.sentences import SENTENCES


@pytest.fixture(scope="session")
def poor_standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a Whisper that hardly learned two sentences, made in a few seconds."""
    from services.dataset.whisper_standin import Recipe, demo_clips, make_standin

    path = tmp_path_factory.mktemp("standin") / "poor.pt"
    few = Recipe(steps=60, batch_size=4, noise=(0.1, 0.0), learning_rate=1e-2)
    make_standin(path, demo_clips(SENTENCES[:2], variants=2), recipe=few)
    return path
