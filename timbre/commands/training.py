"""`timbre train`, `stop`, `status`, `logs`, `jobs`, `cancel`, `checkpoints`: trainings, and how work stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from timbre.commands.session import AsJson, NoWait, Session, Token, Url, dataset, print_json, session, table

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.schemas.jobs import Job

_JobId = Annotated[str | None, typer.Argument(help="The job. Default: the newest.", show_default=False)]
# How often the loss is asked for while a training is watched.
_LOSS_SECONDS = 2.0


def train(
    model_name: Annotated[str, typer.Argument(help="Name of the model to make.", show_default=False)],
    folder: Annotated[str, typer.Argument(help="The dataset: my_voice, or datasets/my_voice.", show_default=False)],
    epochs: Annotated[int | None, typer.Option(help="10 to 1000. Default: 100.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step, 1 to 16. Default: 4.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="0.00001 to 0.01. Default: 0.0001.")] = None,
    use_deepspeed: Annotated[bool, typer.Option(help="DeepSpeed, on several GPUs.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue the model's last run.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Move the model's earlier run aside and begin anew.")] = False,
    language: Annotated[str | None, typer.Option(help="Language of the transcripts. Default: pt.")] = None,
    no_wait: NoWait = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune XTTS-v2 on a dataset; the loss is drawn while it falls."""
    with session(url, token, as_json) as now:
        started = now.client.train(
            model_name,
            dataset(folder),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            use_deepspeed=use_deepspeed,
            resume=resume,
            overwrite=overwrite,
            language=language,
        )
        now.follow(started, "Train", wait=not no_wait, describe=_Loss(now, model_name), made=_trained)


class _Loss:
    """Says how a training stands in words and a line of the loss, which is asked for every few seconds."""

    def __init__(self, now: Session, model_name: str) -> None:
        self._now, self._model_name = now, model_name
        self._asked_at, self._drawn = float("-inf"), ""

    def __call__(self, job: Job) -> str:
        from timbre import errors
        from timbre.demo.show import sparkline

        if time.monotonic() - self._asked_at > _LOSS_SECONDS:
            self._asked_at = time.monotonic()
            try:
                series = self._now.client.metrics(self._model_name).series.get("loss")
            except errors.Error:
                series = None  # it has recorded nothing yet, or the server is away for a moment
            values = [value for value in series.values if value is not None] if series else []
            self._drawn = f"loss {values[-1]:.3f} {sparkline(values, 30)}" if values else ""
        return " ".join(filter(None, [job.message, self._drawn]))


def _trained(job: Job) -> str:
    result = job.result or {}
    return f"{result.get('epochs')} epochs; best checkpoint {result.get('best_checkpoint')}, last {result.get('checkpoint')}"


def stop(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Stop the training that runs; what it has learnt is kept."""
    with session(url, token, as_json) as now:
        now.show(now.client.stop_training(), "Stopped; what was learnt is kept.")


def status(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Show how the training stands, and what else is under way."""
    with session(url, token, as_json) as now:
        training = now.client.training_status()
        active = now.client.jobs(state=["queued", "running"]).jobs
        if as_json:
            print_json({"training": training.model_dump(mode="json"), "jobs": [job.model_dump(mode="json") for job in active]})
            return
        loss = "" if training.loss is None else f", loss {training.loss:.4f}"
        where = (
            f"epoch {training.epoch} of {training.total_epochs}{loss}, {training.progress} %" if training.total_epochs else ""
        )
        now.console.print(" · ".join(filter(None, [f"Training: {training.state}", where])))
        if active:
            now.console.print(_table(active))


def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest.")] = 20,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with session(url, token, as_json) as now:
        found = now.client.jobs(limit=limit)
        now.show(found, _table(found.jobs) if found.jobs else "There is none yet.")


def cancel(
    job_id: Annotated[str, typer.Argument(help="The job.", show_default=False)],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Ask a job to stop; it saves what it has first."""
    with session(url, token, as_json) as now:
        now.show(now.client.cancel_job(job_id), f"{job_id} saves what it has and stops.")


def logs(
    job_id: _JobId = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Print the log of a job."""
    from timbre.client.events import LogLine

    with session(url, token, as_json) as now:
        if job_id is None:
            newest = now.client.jobs(limit=1).jobs
            if not newest:
                now.show({"logs": ""}, "There is no job yet.")
                return
            job_id = newest[0].id
        if not follow:
            log = now.client.job_log(job_id)
            now.show(log, log.logs)
            return
        for event in now.client.job(job_id).events():
            if isinstance(event, LogLine):
                if as_json:
                    print_json({"sequence": event.sequence, "time": event.time.isoformat(), "text": event.text})
                else:
                    now.console.print(event.text, soft_wrap=True)
        from timbre.client.errors import check_ended

        check_ended(now.client.get_job(job_id))


def checkpoints(
    model_name: Annotated[str | None, typer.Argument(help="Only this model's.", show_default=False)] = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List checkpoints, newest first."""
    with session(url, token, as_json) as now:
        found = now.client.checkpoints(model_name)
        drawn = table("Model", "Epoch", "Date", "MB", "Held-out loss", "", "Path")
        for one in found:
            loss = "" if one.eval_loss is None else f"{one.eval_loss:.4f}"
            marks = " ".join(mark for mark, shown in (("current", one.current), ("best", one.best)) if shown)
            drawn.add_row(one.model_name, str(one.epoch), one.date, f"{one.size_mb:.2f}", loss, marks, one.path)
        now.show(found, drawn if found else "There is none yet: timbre train MODEL DATASET makes some.")


def _table(rows: list[Job]) -> Table:
    drawn = table("Job", "Kind", "On", "State", "Done", "What")
    for job in rows:
        drawn.add_row(job.id, job.kind, job.subject, job.state, f"{job.progress:.0f} %", job.error or job.message)
    return drawn
