"""One run of the demonstration: what it asks of the API, how it follows jobs, and what it has done so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from rich.console import Console

from timbre.demo.show import Bar, Done, bar

_POLL_SECONDS = 0.3

P = ParamSpec("P")
T = TypeVar("T")


class DemoFailed(RuntimeError):
    """A step did not do what it should; the message is a sentence that says which and why."""


@dataclass(frozen=True)
class Run:
    """One run of the demonstration.

    Attributes:
        client: Speaks to the gateway.
        console: What the user sees.
        output: Folder for what is made.
        model: The base model.
        done: The steps done so far.
    """

    client: httpx.Client
    console: Console
    output: Path
    model: str
    done: list[Done] = field(default_factory=list)

    def step(
        self, name: str, function: Callable[Concatenate[Run, Bar, P], tuple[str, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Does one step under a bar; the function returns what it made in words, and what later steps need of it."""
        began = time.monotonic()
        with bar(self.console, name) as show:
            made, value = function(self, show, *args, **kwargs)
        self.done.append(Done(name, made, time.monotonic() - began))
        self.console.print(f"  {made}", highlight=False)
        return value

    def ask(self, method: str, path: str, **request: Any) -> Any:
        """Sends one request and returns the JSON of its answer.

        Raises:
            DemoFailed: The answer is an error; its sentence is passed on.
        """
        answer = self.client.request(method, path, **request)
        if answer.is_success:
            return answer.json()
        try:
            detail = answer.json()["detail"]
        except (ValueError, KeyError, TypeError):
            detail = answer.text[:300]
        raise DemoFailed(f"{method} {path} answered {answer.status_code}: {detail}")

    def await_job(self, job_id: str, show: Bar, describe: Callable[[dict[str, Any]], str] | None = None) -> dict[str, Any]:
        """Follows a job to its end.

        Raises:
            DemoFailed: The job failed or was stopped.
        """
        while True:
            job = self.ask("GET", f"/training/jobs/{job_id}")
            show(job["progress"] / 100, describe(job) if describe else job["message"], job["remaining_seconds"])
            if job["state"] == "succeeded":
                return dict(job["result"] or {})
            if job["state"] in ("failed", "stopped"):
                raise DemoFailed(f"{job['kind']} {job['state']}: {job['error'] or 'its log says why'}")
            time.sleep(_POLL_SECONDS)
