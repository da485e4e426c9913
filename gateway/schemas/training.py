"""JSON of `/training/start` … `/training/metrics` and `/training/checkpoints`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body, JobId
from gateway.schemas.dataset import Folder, Language
from gateway.schemas.fields import Flag, Number, Text


class TrainingRequest(Body):
    """Which dataset to train on, and how."""

    model_name: Annotated[Text, Field(examples=["my_voice_model"])]
    """Name for the trained model."""

    dataset_folder: Folder
    """Path to dataset."""

    epochs: Annotated[int, Number(10, 1000, whole=True)] = 100
    """Number of training epochs."""

    batch_size: Annotated[int, Number(1, 16, whole=True)] = 4
    """Clips a step."""

    learning_rate: Annotated[float, Number(0.00001, 0.01)] = 0.0001
    """Peak learning rate."""

    use_deepspeed: Flag = False
    """Enable DeepSpeed (multi-GPU)."""

    resume: Flag = False
    """Continue the model's last run from its last checkpoint."""

    overwrite: Flag = False
    """Move the model's earlier run aside and begin anew; nothing is deleted."""

    language: Language = "pt"
    """ISO 639-1 code of the language of the transcripts."""


class TrainingStarted(Answer):
    """A training has been accepted."""

    status: Literal["started"] = "started"
    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    output_folder: Annotated[str, Field(examples=["train/output/my_voice_model"])]
    """Where its output goes."""
    job_id: JobId
    """The job that does it."""


class TrainingStopped(Answer):
    """The training has saved and ended."""

    status: Literal["stopped"] = "stopped"


class TrainingStatus(Answer):
    """How the present or last training stands."""

    state: Annotated[Literal["idle", "running", "completed", "failed", "stopped"], Field(examples=["running"])]
    epoch: Annotated[int, Field(examples=[45])]
    """Current epoch number."""
    total_epochs: Annotated[int, Field(examples=[100])]
    """Total epochs configured."""
    loss: Annotated[float | None, Field(examples=[0.0234])]
    """Current loss; null before the first step."""
    progress: Annotated[int, Field(ge=0, le=100, examples=[45])]
    """Progress percentage; 100 only when completed."""
    logs: Annotated[str, Field(examples=["Epoch 45/100 - Loss: 0.0234"])]
    """The last 50 log lines."""


class TrainingLogs(Answer):
    """The log of the present or last training."""

    logs: Annotated[str, Field(examples=["Epoch 1/100 - Loss: 5.7012\nEpoch 2/100 - Loss: 5.1204"])]
    """All of it; empty when nothing was ever trained."""


class Series(Answer):
    """One recorded series, column by column."""

    steps: Annotated[list[int], Field(examples=[[1, 2]])]
    """Optimiser steps, from 1."""
    values: Annotated[list[float | None], Field(examples=[[5.70, 5.12]])]
    """The value at each step; null where it was no number."""
    times: Annotated[list[float], Field(examples=[[1764080000.0, 1764080004.1]])]
    """When it was recorded, seconds since 1970 UTC."""


class TrainingMetrics(Answer):
    """What the trainings of a model recorded."""

    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    """The model; empty when nothing was ever trained."""
    series: dict[str, Series]
    """By name: `loss`, `text_loss`, `audio_loss`, `eval_loss`, `learning_rate`, …"""


class Checkpoint(Answer):
    """One checkpoint."""

    name: Annotated[str, Field(examples=["checkpoint_epoch_100"])]
    """Display name."""
    path: Annotated[str, Field(examples=["train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"])]
    """Object key: what `checkpoint` means elsewhere."""
    epoch: Annotated[int, Field(examples=[100])]
    """Training epoch number."""
    date: Annotated[str, Field(examples=["2025-12-06 14:30"])]
    """When it was written, UTC."""
    size_mb: Annotated[float, Field(examples=[235.67])]
    """Size in units of 1024² bytes."""
    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    """The model it belongs to."""


class CheckpointLoaded(Answer):
    """The checkpoint is ready to speak."""

    status: Literal["loaded"] = "loaded"
    checkpoint: Annotated[str, Field(examples=["train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"])]
