"""Settings of the trainer service and its workers."""

from __future__ import annotations

from pydantic import Field

from services.runtime.settings import JobSettings


class TrainerSettings(JobSettings):
    """Which model is tuned, and what is kept of a run."""

    trainer_listen: str = "127.0.0.1:50052"
    """Address that the service binds; port 0 takes a free one."""

    base_model: str = "xtts_v2"
    """Model that is tuned: `xtts_v2` (fetched on first use), `tiny` (a stand-in made on the spot), or a folder."""

    training_workers: int = Field(default=1, ge=1, le=1024)
    """Processes that share one training, each with the whole model and a part of every batch: of this machine, one a GPU,
    or with `TIMBRE_RUNNER=ray` anywhere in the cluster, where each reserves the `trainer.worker` of `TIMBRE_RAY_RESOURCES`.
    Never more than the batch has clips."""

    accept_xtts_license: bool = False
    """Whether the Coqui Public Model License is accepted; without it `xtts_v2` is not fetched."""
