from __future__ import annotations

from services.inference.settings import InferenceSettings
from services.trainer.settings import TrainerSettings


def test_what_trains_and_what_speaks_have_the_same_base() -> None:
    for name in ("base_model", "accept_xtts_license"):
        assert InferenceSettings.model_fields[name].default == TrainerSettings.model_fields[name].default
