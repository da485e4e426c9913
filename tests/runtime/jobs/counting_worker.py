"""A worker for tests: counts to a number, one unit at a time, each kept as a file once it is done."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from services.runtime.errors import FailedPrecondition
from services.runtime.jobs import JobContext
from services.runtime.jobs.worker import work
from services.runtime.settings import JobSettings


def count(job: JobContext) -> dict[str, Any]:
    folder = Path(job.parameters["folder"])
    total = job.parameters["total"]
    for number in range(total):
        unit = folder / f"{number}"
        if not unit.exists():
            job.check_stop()
            time.sleep(job.parameters.get("seconds", 0.02))
            with (folder / "done.log").open("a") as log:
                log.write(f"{number}\n")
            unit.touch()
            job.log(f"unit {number}")
        job.record(number, value=number)
        job.progress((number + 1) / total, f"{number + 1} of {total}")
    return {"total": total, "scratch": job.scratch.exists()}


def change(job: JobContext) -> dict[str, Any]:
    folder = Path(job.parameters["folder"])
    for step in ("begun", "held"):
        with job.exclusive() if step == "held" else nullcontext():
            (folder / step).touch()
            while not (folder / f"{step}.go").exists():
                time.sleep(0.02)
    return {"attempt": job.attempt}


def crash(job: JobContext) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def refuse(job: JobContext) -> dict[str, Any]:
    raise FailedPrecondition("The well is dry: bring water.")


def break_down(job: JobContext) -> dict[str, Any]:
    raise ValueError(f"secret detail in {__file__}")


def fill_disk(job: JobContext) -> dict[str, Any]:
    raise OSError(errno.ENOSPC, "No space left on device", str(job.scratch))


def ignore_stop(job: JobContext) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.log("busy")
    time.sleep(600)
    return {}


if __name__ == "__main__":
    functions = {
        "t.count": count,
        "t.change": change,
        "t.crash": crash,
        "t.refuse": refuse,
        "t.break": break_down,
        "t.full": fill_disk,
        "t.ignore": ignore_stop,
    }
    work(functions, JobSettings(), sys.argv[1:])
