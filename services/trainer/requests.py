"""What a request to train must be, and what it becomes: the parameters of a job."""

from __future__ import annotations

import math
from typing import Any

from timbre.trainer.v1 import trainer_pb2 as pb

from services.dataset.layout import check_folder
from services.dataset.requests import language_of
from services.runtime.errors import InvalidArgument
from services.runtime.keys import check_name
from services.voices.names import RESERVED

EPOCHS = (10, 1000)
BATCH_SIZE = (1, 16)
LEARNING_RATE = (1e-5, 1e-2)

DEFAULT_EPOCHS = 100
DEFAULT_BATCH_SIZE = 4
DEFAULT_LEARNING_RATE = 1e-4

# With `train/output/` in front and a checkpoint's name behind, a model's name must still be a name.
_MAX_MODEL_NAME = 100


def training_parameters(request: pb.StartTrainingRequest) -> dict[str, Any]:
    """Returns the parameters of a training job, defaults filled in.

    Raises:
        InvalidArgument: A name is malformed or reserved, a value out of its range, or both `resume` and `overwrite` are set.
    """
    if request.resume and request.overwrite:
        raise InvalidArgument(
            "resume and overwrite are both true: choose one.", fields={"resume": "must not be true when overwrite is"}
        )
    epochs = request.epochs if request.HasField("epochs") else DEFAULT_EPOCHS
    batch_size = request.batch_size if request.HasField("batch_size") else DEFAULT_BATCH_SIZE
    learning_rate = request.learning_rate if request.HasField("learning_rate") else DEFAULT_LEARNING_RATE
    _check("epochs", epochs, EPOCHS)
    _check("batch_size", batch_size, BATCH_SIZE)
    _check("learning_rate", learning_rate, LEARNING_RATE)
    return {
        "model_name": _new_name(request.model_name),
        "dataset_folder": check_folder(request.dataset_folder, field="dataset_folder"),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "use_deepspeed": request.use_deepspeed,
        "resume": request.resume,
        "overwrite": request.overwrite,
        "language": language_of(request.language),
    }


def model_name_of(name: str) -> str:
    """Returns the name of a model.

    Raises:
        InvalidArgument: It is not one plain part of a name, or over 100 characters.
    """
    check_name(name, field="model_name")
    if "/" in name or len(name) > _MAX_MODEL_NAME:
        problem = f"it must be at most {_MAX_MODEL_NAME} letters, digits, '.', '_' and '-'"
        raise InvalidArgument(f"model_name is {name[:80]!r}: {problem}.", fields={"model_name": problem})
    return name


def _new_name(name: str) -> str:
    if model_name_of(name).lower() in RESERVED:
        problem = "programs mean something else by it, so choose another name"
        raise InvalidArgument(f"model_name is {name!r}: {problem}.", fields={"model_name": problem})
    return name


def _check(field: str, value: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (math.isfinite(value) and low <= value <= high):
        problem = f"it must be {low:g} to {high:g}" if high >= 1 else f"it must be {low:.5f} to {high:g}"
        raise InvalidArgument(f"{field} is {value:g}: {problem}.", fields={field: problem})
