"""One training in several processes of this machine, one a GPU where there are GPUs: the worker leads, others follow."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from services.runtime.errors import FailedPrecondition, TimbreError
from services.runtime.jobs import JobContext
from services.runtime.jobs.context import JobReleased, JobStopped
from services.runtime.jobs.queue import LeaseLost
from services.runtime.logs import set_up_logging
from services.runtime.processes import PoolBroken, die_with_parent
from services.trainer.launch import Plan, join, train
from services.trainer.settings import TrainerSettings

logger = logging.getLogger(__name__)

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: for the leader to save a checkpoint, above all. A dead one is noticed earlier."""

_GRACE_SECONDS = 30.0
"""How long the leader may take to end by itself once a follower has failed."""


class TooFewGpus(FailedPrecondition):
    """More processes are asked for than this machine has GPUs."""


def train_in_processes(job: JobContext, settings: TrainerSettings, plan: Plan, processes: int) -> dict[str, Any]:
    """Trains in this process and others.

    Raises:
        TooFewGpus: There are GPUs, but not one for each process.
        PoolBroken: One of them died; the job can be taken up again.
    """
    import torch

    if 0 < (gpus := torch.cuda.device_count()) < processes:
        raise TooFewGpus(
            f"TIMBRE_TRAINING_WORKERS is {settings.training_workers}, and this machine has {gpus} GPU{'s' * (gpus != 1)}: "
            f"set it to {gpus} or less."
        )
    meeting_point = job.scratch / "processes"
    meeting_point.unlink(missing_ok=True)
    arguments = (processes, meeting_point, os.getpid(), job.id, job.lease, settings, plan)
    with _followers(job, processes, arguments):
        _meet(0, processes, meeting_point)
        return train(job, settings, plan)


@contextmanager
def _followers(job: JobContext, processes: int, arguments: tuple[Any, ...]) -> Iterator[None]:
    """Starts the followers, and ends them when the block ends."""
    context = get_context("spawn")
    followers = [context.Process(target=follow, args=(rank, *arguments), daemon=True) for rank in range(1, processes)]
    for follower in followers:
        follower.start()
    ended = threading.Event()
    threading.Thread(target=_watch, args=(job, followers, ended), name="followers", daemon=True).start()
    try:
        yield
    except (TimbreError, JobStopped, JobReleased, LeaseLost):
        raise
    except Exception as error:  # most likely the connection to one that died
        raise PoolBroken([job.id]) from error
    finally:
        ended.set()
        for follower in followers:
            follower.kill()
            follower.join()


def _watch(job: JobContext, followers: Sequence[BaseProcess], ended: threading.Event) -> None:
    """Ends this process when a follower fails and that does not wake us: a GPU may wait for another one for ever."""
    left = list(followers)
    while left:
        connection.wait([follower.sentinel for follower in left])
        gone = [follower for follower in left if not follower.is_alive()]
        left = [follower for follower in left if follower not in gone]
        failed = next((follower for follower in gone if follower.exitcode), None)
        if failed is not None and not ended.is_set():
            logger.error("job %s: a training process ended with exit code %s", job.id, failed.exitcode)
            if not ended.wait(_GRACE_SECONDS):
                os._exit(70)
            return


def follow(
    rank: int,
    processes: int,
    meeting_point: Path,
    leader: int,
    job_id: str,
    lease: str,
    settings: TrainerSettings,
    plan: Plan,
) -> None:
    """What a process does that does not lead."""
    die_with_parent(leader)
    for number in (signal.SIGINT, signal.SIGTERM):  # these are for the leader to answer
        signal.signal(number, signal.SIG_IGN)
    set_up_logging(settings)
    job = join(settings, job_id, lease)
    _meet(rank, processes, meeting_point)
    try:
        train(job, settings, plan)
    except (JobStopped, JobReleased):
        return
    except TimbreError as error:  # the leader says the same, or ends because we do
        logger.error("job %s: process %d of the training: %s", job_id, rank, error.message)
        raise SystemExit(1) from None


def _meet(rank: int, processes: int, meeting_point: Path) -> None:
    """Connects this process with the others."""
    cores = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    # All are on this machine, and nobody else has to see them.
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)

    import torch
    import torch.distributed as dist

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if gpu else "gloo",
        init_method=meeting_point.as_uri(),
        rank=rank,
        world_size=processes,
        timeout=PATIENCE,
    )
