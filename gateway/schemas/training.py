"""JSON of `/training/start` … `/training/metrics` and `/training/checkpoints`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.schemas.base import Answer, Body, JobId, Moment
from gateway.schemas.dataset import Folder, Language
from gateway.schemas.fields import Flag, Number, Text
from gateway.schemas.inference import Utterance

_CHECKPOINT = "train/output/my_voice_model/checkpoints/checkpoint_epoch_100.pth"

State = Literal["idle", "running", "completed", "failed", "stopped"]
RunLimit = Annotated[int, Number(1, 100, whole=True, from_text=True)]
Percent = Annotated[float, Field(ge=0, le=100)]


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

    state: Annotated[State, Field(examples=["running"])]
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
    loss: Annotated[float | None, Field(examples=[2.31])]
    """Training loss of its epoch; null when nobody kept it."""
    eval_loss: Annotated[float | None, Field(examples=[2.58])]
    """Loss on held-out clips; null when none were held out or nobody kept it."""
    similarity: Annotated[Percent | None, Field(examples=[85.5])]
    """Speaker similarity that its newest A/B test measured; null before one."""
    mfcc_score: Annotated[Percent | None, Field(examples=[92.3])]
    """MFCC score that its newest A/B test measured; null before one."""
    current: Annotated[bool, Field(examples=[True])]
    """Whether it is its voice's current one: the promoted, else the best, else the newest."""
    best: Annotated[bool, Field(examples=[True])]
    """Whether it has the lowest loss of its model: held-out, or training loss where nothing was held out."""


class CheckpointLoaded(Answer):
    """The checkpoint is ready to speak."""

    status: Literal["loaded"] = "loaded"
    checkpoint: Annotated[str, Field(examples=[_CHECKPOINT])]


class CheckpointDeleted(Answer):
    """The checkpoint is gone."""

    status: Literal["deleted"] = "deleted"
    checkpoint: Annotated[str, Field(examples=[_CHECKPOINT])]


class CheckpointPromoted(Answer):
    """The checkpoint is its voice's current one."""

    status: Literal["promoted"] = "promoted"
    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    """The voice."""
    checkpoint: Annotated[str, Field(examples=[_CHECKPOINT])]


class Estimate(Answer):
    """What a training would take."""

    steps: Annotated[int, Field(examples=[1250])]
    """Optimiser steps; those that are left when it resumes."""
    clips: Annotated[int, Field(examples=[50])]
    """Clips that it trains on; the others are held out."""
    hours: Annotated[float, Field(examples=[0.14])]
    """Length of all clips."""
    disk_bytes: Annotated[int | None, Field(examples=[15_700_000_000])]
    """Most that checkpoints and the state to continue from take in the store; null when that cannot be told."""
    seconds: Annotated[float | None, Field(examples=[2140.0])]
    """How long it takes; null when nothing like it was measured yet."""
    basis: Annotated[str, Field(examples=["1.71 s a step, as the training of my_voice_model on cuda took at batch size 4."])]
    """What the estimate is based on, in a sentence."""


class RunParameters(Answer):
    """What a training was asked."""

    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    dataset_folder: Annotated[str, Field(examples=["datasets/my_voice"])]
    epochs: Annotated[int, Field(examples=[100])]
    batch_size: Annotated[int, Field(examples=[4])]
    learning_rate: Annotated[float, Field(examples=[0.0001])]
    use_deepspeed: Annotated[bool, Field(examples=[False])]
    resume: Annotated[bool, Field(examples=[False])]
    overwrite: Annotated[bool, Field(examples=[False])]
    language: Annotated[str, Field(examples=["pt"])]


class Run(Answer):
    """One training."""

    job_id: JobId
    model_name: Annotated[str, Field(examples=["my_voice_model"])]
    state: Annotated[State, Field(examples=["completed"])]
    started_at: Moment | None
    """When a worker first began; null before."""
    ended_at: Moment | None
    """When it ended; null before."""
    parameters: RunParameters
    """What was asked for."""
    epochs_done: Annotated[int, Field(examples=[100])]
    """Finished epochs."""
    last_loss: Annotated[float | None, Field(examples=[2.31])]
    """Newest training loss; null before one."""
    last_eval_loss: Annotated[float | None, Field(examples=[2.58])]
    """Newest held-out loss; null before one."""
    seconds_per_step: Annotated[float | None, Field(examples=[1.71])]
    """What a step takes, checkpoints included and pauses not; null before two steps were recorded."""


class Runs(Answer):
    """Trainings, newest first."""

    runs: list[Run]


class Voice(Answer):
    """One voice: a model that was trained, and where it stands."""

    name: Annotated[str, Field(examples=["my_voice_model"])]
    """Name of the model."""
    dataset_folder: Annotated[str | None, Field(examples=["datasets/my_voice"])]
    """The dataset it was trained on last; null when nobody kept that."""
    language: Annotated[str, Field(examples=["pt"])]
    """ISO 639-1 code of the language of that."""
    current: Annotated[str | None, Field(examples=[_CHECKPOINT])]
    """Path of its current checkpoint: the promoted, else the best, else the newest; null when it has none."""
    checkpoints: Annotated[int, Field(examples=[6])]
    """How many it has."""
    best_checkpoint: Annotated[str | None, Field(examples=[_CHECKPOINT])]
    """Path of that with the lowest loss; null when nobody kept losses."""
    last_loss: Annotated[float | None, Field(examples=[2.31])]
    """Newest training loss; null before one."""
    last_eval_loss: Annotated[float | None, Field(examples=[2.58])]
    """Newest held-out loss; null before one."""
    state: Annotated[State, Field(examples=["completed"])]
    """State of its newest training; `idle` when that is not known any more."""
    updated_at: Moment
    """When a checkpoint was written or a training changed last."""
    sample: Utterance | None
    """The newest thing that it said; null before."""


class Voices(Answer):
    """The voices there are, the one that changed last first."""

    voices: list[Voice]


class Me(Answer):
    """Who asks, as the gateway sees it."""

    auth: Annotated[Literal["off", "jwt"], Field(examples=["jwt"])]
    """Whether tokens are asked for."""
    subject: Annotated[str, Field(examples=["ana"])]
    """What the token says in `sub`; `anonymous` without authentication."""
    scopes: Annotated[list[str], Field(examples=[["dataset:read", "training"]])]
    """What the caller may do; `admin` is everything."""
