"""Is anything lost, or done twice, when processes are killed all the time?

Three replicas of each service and of the gateway work on one PostgreSQL and one S3 server (two replicas of a kind share this
machine as processes do, the part is a pod with process numbers of its own). The documented workflow runs on several datasets
at once through whichever gateway answers, while a fault loop kills a random process by SIGKILL every few seconds: a service,
a gateway, a pod, a worker. What the services do is then held against an undisturbed run:

    every job succeeded · same segments, transcripts and losses · each unit of work written once · nothing left over

What is counted is what the servers saw: PUT requests in the log of the S3 server, and ends of jobs by a trigger in PostgreSQL.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from services.dataset.whisper_models import resolve_whisper
from services.runtime.database import connect
from services.runtime.jobs import JobState
from services.xtts.base import resolve_base
from tests.e2e.replicas import Client, Cluster, Replica, cluster
from timbre.demo.sentences import SENTENCES
from timbre.demo.speech import make_recording
from timbre.demo.stack import web_server

REPLICAS = 3
EPOCHS = 12
TEXT = "Este é um teste de síntese de voz."
SETTINGS = {
    "TIMBRE_BASE_MODEL": "tiny",
    "TIMBRE_WHISPER_MODEL": "tiny-demo",
    "TIMBRE_DOWNLOAD_HOSTS": "127.0.0.1",
    "TIMBRE_DOWNLOAD_ALLOW_PRIVATE": "true",
    "TIMBRE_DATASET_JOBS": "1",
    "TIMBRE_WORKERS": "1",
    "TIMBRE_HEARTBEAT_SECONDS": "0.5",
    "TIMBRE_HEARTBEAT_TIMEOUT_SECONDS": "8",
    "OMP_NUM_THREADS": "1",
}
# Counts how often a job comes to an end: each may do so once.
TRIGGER = """
CREATE TABLE job_ends (job_id text, state text);
CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO job_ends VALUES (NEW.id, NEW.state); RETURN NEW; END $$;
CREATE TRIGGER job_ends AFTER UPDATE ON jobs FOR EACH ROW
  WHEN (NEW.state IN ('succeeded', 'failed', 'stopped')) EXECUTE FUNCTION note_end();
"""


@dataclass
class Made:
    """What a workflow made of one dataset.

    Attributes:
        jobs: Every job that was started.
        rows: The manifest, without what names one store's version of a recording.
        segments: Name of a segment to its audio.
        losses: Of the training.
        checkpoint: Its last one.
        spoken: Links to what it said.
    """

    jobs: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    segments: dict[str, bytes] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    checkpoint: str = ""
    spoken: list[str] = field(default_factory=list)


# ── the workflow ────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_dataset(client: Client, store: Any, media: str, upload: Path, folder: str) -> Made:
    """Downloads, uploads, segments and transcribes."""
    made = Made()
    urls = [f"{media}/voice-1.wav", f"{media}/voice-2.wav"]
    made.jobs.append(client.post("/training/dataset/download", json={"urls": urls, "folder": folder})["job_id"])
    client.post("/training/dataset/upload", data={"folder": folder}, files={"files": (upload.name, upload.read_bytes())})
    client.done(made.jobs[-1])
    body = {"folder": folder, "min_duration": 3, "max_duration": 6}
    made.jobs.append(client.post("/training/dataset/segment", json=body)["job_id"])
    made.jobs.append(client.post("/training/dataset/transcribe", json={"folder": folder})["job_id"])
    for job in made.jobs[1:]:
        client.done(job)
    made.rows = [json.loads(line) for line in store.get(f"{folder}/segments.jsonl").splitlines()]
    for row in made.rows:
        row.pop("fingerprint")
    prefix = f"{folder}/segments/"
    made.segments = {info.key.removeprefix(prefix): store.get(info.key) for info in store.list(prefix)}
    return made


def train(client: Client, made: Made, folder: str, model: str) -> None:
    """Trains a model from its first epoch to its last."""
    body = {"model_name": model, "dataset_folder": folder, "epochs": EPOCHS, "batch_size": 4}
    made.jobs.append(client.post("/training/start", json=body)["job_id"])
    job = client.done(made.jobs[-1], 400)
    made.checkpoint = job["result"]["checkpoint"]
    made.losses = client.get("/training/metrics", model_name=model)["series"]["loss"]["values"]


def speak(client: Client, made: Made) -> None:
    """Loads the last checkpoint, speaks with it and compares it with the base model."""
    client.ask("POST", "/training/checkpoints/load", params={"checkpoint_path": made.checkpoint})
    speech = {"checkpoint": made.checkpoint, "text": TEXT, "seed": 7}
    made.spoken.append(client.post("/training/inference/synthesize", json=speech)["audio_url"])
    compared = client.post("/training/inference/ab-test", json=speech)
    made.spoken += [compared["base_audio"], compared["finetuned_audio"]]


@dataclass
class Follower:
    """Follows a job by server-sent events, from gateway to gateway, as a browser does.

    Attributes:
        told: Sequence numbers of the log lines, in the order they came.
        ended: Whether the end was told.
        connections: How often it had to connect.
    """

    urls: list[str]
    told: list[int] = field(default_factory=list)
    ended: bool = False
    connections: int = 0

    def follow(self, job_id: str) -> None:
        """Follows a job until it has been told of its end."""
        while not self.ended:
            headers = {"Last-Event-ID": str(self.told[-1])} if self.told else {}
            self.connections += 1
            url = f"{random.choice(self.urls)}/training/jobs/{job_id}/events"
            try:
                with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
                    for line in answer.iter_lines() if answer.status_code == 200 else ():
                        if line.startswith("id: "):
                            self.told.append(int(line[4:]))
                        self.ended |= line == "event: end"
            except httpx.TransportError:
                pass
            if not self.ended:
                time.sleep(0.3)


# ── the faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Faults:
    """Kills a random process again and again, and starts services anew after a pause.

    Attributes:
        made: What is disturbed.
        every: Seconds between two kills, on average.
        seconds: How long it goes on at most, so that the benchmark ends on a slow machine, too.
        killed: What was killed, by what it was.
        timeline: The same, in order and in words.
    """

    made: Cluster
    every: float
    seconds: float
    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    timeline: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Disturbs while the block lasts; at its end everything that was killed is started again."""
        done = threading.Event()
        thread = threading.Thread(target=self._run, args=(done,))
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _run(self, done: threading.Event) -> None:
        chance, began = random.Random(self.seed), time.monotonic()
        down: list[tuple[float, Replica]] = []
        while not done.wait(chance.uniform(0.5, 1.5) * self.every) and time.monotonic() - began < self.seconds:
            for at, replica in list(down):
                if time.monotonic() > at:
                    replica.start()
                    down.remove((at, replica))
            up = [one for one in self.made.replicas.values() if one not in [replica for _, replica in down]]
            victim = chance.choice([*up, *self.made.workers()])
            if isinstance(victim, psutil.Process):
                self._kill_worker(victim, began)
            else:
                replica = victim
                self._note(began, replica.name.partition("-")[0] + (" (pod)" if replica.is_pod else ""), replica.name)
                replica.kill()
                down.append((time.monotonic() + chance.uniform(1, 4), replica))
        for _, replica in down:
            replica.start()

    def _kill_worker(self, worker: psutil.Process, began: float) -> None:
        try:
            words = worker.cmdline()
            worker.kill()
        except psutil.Error:
            return
        module = next((word for word in words if word.endswith(".work")), "")
        if module:
            self._note(began, f"worker of {module.split('.')[1]}", f"worker of {words[-2]}")

    def _note(self, began: float, kind: str, name: str) -> None:
        self.killed[kind] += 1
        self.timeline.append(f"{time.monotonic() - began:6.1f} s  {name}")


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Verdict = list[tuple[str, str, bool]]
"""What was looked at, what was found, whether that is right."""


def judge(made: Cluster, expected: Made, disturbed: dict[str, Made], followers: list[Follower], url: str) -> Verdict:
    """Compares what was made with what should have been, and counts what the servers saw."""
    jobs = [job for one in (expected, *disturbed.values()) for job in one.jobs]
    rows = made.queue.find(limit=1000)
    succeeded = sum(job.state is JobState.SUCCEEDED for job in rows)
    engine = connect(url)
    with engine.connect() as connection:
        ends = Counter(connection.scalars(sa.text("SELECT job_id FROM job_ends")))
    engine.dispose()
    same_segments = sum(one.segments == expected.segments for one in disturbed.values())
    same_rows = sum(one.rows == expected.rows for one in disturbed.values())
    trained = [one for one in disturbed.values() if one.losses]
    same_losses = sum(close(one.losses, expected.losses) for one in trained)
    spoken = [link for one in disturbed.values() for link in one.spoken]
    audible = sum(is_speech(made, link) for link in spoken)
    units, twice = written_twice(made.s3_log)
    lines = [sorted(line.sequence for line in made.queue.log_lines(one.jobs[-1])) for one in trained]
    followed = sum(follower.told == told for follower, told in zip(followers, lines, strict=True))
    left = [info.key for info in made.store.list("datasets/") if "/work/" in info.key]
    number = len(disturbed)
    return [
        ("jobs accepted / asked for", f"{len(rows)} / {len(jobs)}", {job.id for job in rows} == set(jobs)),
        ("jobs succeeded", f"{succeeded}", succeeded == len(jobs)),
        ("jobs that ended once", f"{sum(n == 1 for n in ends.values())}", ends == Counter(jobs)),
        ("datasets with the expected segments", f"{same_segments} / {number}", same_segments == number),
        ("datasets with the expected transcripts", f"{same_rows} / {number}", same_rows == number),
        ("trainings with the expected losses", f"{same_losses} / {len(trained)}", same_losses == len(trained) > 0),
        ("recordings spoken by the last checkpoint", f"{audible} / {len(spoken)}", audible == len(spoken) > 0),
        ("units written / written twice", f"{units} / {len(twice)}" + "".join(f"\n    {key}" for key in twice), not twice),
        ("followers told each log line once", f"{followed} / {len(followers)}", followed == len(followers)),
        ("units and running jobs left over", f"{len(left)}", not left and all(job.ended for job in rows)),
    ]


def close(found: list[float], expected: list[float]) -> bool:
    """Whether two runs of losses are the same but for the last digits."""
    return len(found) == len(expected) and all(abs(a - b) <= 1e-4 * abs(b) for a, b in zip(found, expected, strict=True))


def is_speech(made: Cluster, link: str) -> bool:
    """Whether there is a WAV with samples behind a link, at any gateway that answers."""
    for url in made.urls:
        try:
            answer = httpx.get(url + link, timeout=30)
        except httpx.TransportError:
            continue
        return answer.status_code == 200 and answer.content[:4] == b"RIFF" and len(answer.content) > 10_000
    return False


def written_twice(log: Path) -> tuple[int, list[str]]:
    """Counts the units of which the S3 server took the closing object, and names those that it took more than once."""
    puts = re.findall(r'"PUT /[^/]+/(\S+) HTTP/1.1.{0,8}" 200', log.read_text())
    # What a client uploads is no unit: it may be sent again while it is being stored, and is the same object then.
    closing = [key for key in puts if re.search(r"/work/.+\.json$|/raw/(?!voice-3-)[^/]+\.json$", key)]
    counted = Counter(closing)
    return len(counted), [f"{key} ({count} times)" for key, count in counted.items() if count > 1]


def leftovers(made: Cluster) -> list[str]:
    """Stops everything as an operator would, and returns what is still there."""
    for replica in made.replicas.values():
        replica.stop()
    return [" ".join(process.cmdline()) for process in made.workers() if process.status() != psutil.STATUS_ZOMBIE]


# ── all of it ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def run(folder: Path, datasets: int, trainings: int, every: float, seconds: float, seed: int) -> bool:
    """Runs the benchmark; returns whether all was well."""
    cache = Path(os.environ.get("TIMBRE_CACHE_DIR") or ".timbre/cache").absolute()
    resolve_base("tiny", cache)
    resolve_whisper("tiny-demo", cache)
    recordings = make_recordings(folder / "media")
    settings = {**SETTINGS, "TIMBRE_CACHE_DIR": str(cache)}
    with web_server(folder / "media") as media, cluster(folder / "cluster", REPLICAS, settings) as made:
        url = made.replicas["dataset-1"].environment["TIMBRE_DATABASE_URL"]
        count_ends(url)
        for replica in made.replicas.values():
            replica.wait_until_up()
        client = Client(made.urls)
        began = time.monotonic()
        expected = make_dataset(client, made.store, media, recordings, "datasets/undisturbed")
        train(client, expected, "datasets/undisturbed", "undisturbed")
        say(f"undisturbed: {len(expected.rows)} segments, {len(expected.losses)} steps, {time.monotonic() - began:.0f} s")

        faults, began, calm = Faults(made, every, seconds, seed), time.monotonic(), len(client.troubles)
        followers: list[Follower] = []
        with faults.running(), ThreadPoolExecutor(datasets + trainings) as pool:
            names = [f"datasets/disturbed-{number}" for number in range(1, datasets + 1)]
            made_all = pool.map(lambda name: make_dataset(client, made.store, media, recordings, name), names)
            made_of = dict(zip(names, made_all, strict=True))
            say(f"disturbed: {datasets} datasets after {time.monotonic() - began:.0f} s")
            for number, name in enumerate(names[:trainings], start=1):
                followers.append(Follower(made.urls))
                watching = pool.submit(follow_training, client, followers[-1], f"disturbed-{number}")
                train(client, made_of[name], name, f"disturbed-{number}")
                watching.result(60)
                say(f"disturbed: training {number} after {time.monotonic() - began:.0f} s")
                speak(client, made_of[name])
            say(f"disturbed: everything after {time.monotonic() - began:.0f} s")
        for replica in made.replicas.values():
            replica.wait_until_up()
        verdict = judge(made, expected, made_of, followers, url)
        remaining = leftovers(made)
        verdict.append(("processes left after a stop", ", ".join(remaining) or "0", not remaining))
        report(made, faults, client, calm, followers, verdict)
        return all(right for _, _, right in verdict)


def follow_training(client: Client, follower: Follower, model: str) -> None:
    """Follows the training of a model as soon as there is one."""
    while True:
        found = client.get("/training/jobs", kind="trainer.train", subject=model)["jobs"]
        if found:
            return follower.follow(found[0]["id"])
        time.sleep(0.2)


def make_recordings(folder: Path) -> Path:
    """Speaks two recordings to download and one to upload, which is returned."""
    folder.mkdir(parents=True)
    part = len(SENTENCES) // 4  # one part is left out: more would only take longer
    for number in range(3):
        sentences = SENTENCES[number * part : (number + 1) * part]
        make_recording(folder / f"voice-{number + 1}.wav", sentences, pause_seconds=(0.6, 0.4, 0.9))
    return folder / "voice-3.wav"


def count_ends(url: str) -> None:
    """Has PostgreSQL note every end of a job."""
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(TRIGGER)
    engine.dispose()


def report(made: Cluster, faults: Faults, client: Client, calm: int, followers: list[Follower], verdict: Verdict) -> None:
    """Prints what was killed, what clients noticed, and what was lost."""
    attempts = Counter(job.attempt for job in made.queue.find(limit=1000))
    say(f"\nkilled by SIGKILL: {sum(faults.killed.values())}")
    for kind, count in sorted(faults.killed.items()):
        say(f"  {kind:24} {count:4}")
    say("\n".join(faults.timeline))
    say(f"\njobs by attempts: {', '.join(f'{count} with {number}' for number, count in sorted(attempts.items()))}")
    say(f"answers that the client had to ask for again: {len(client.troubles) - calm}")
    for trouble, count in Counter(text.partition("?")[0][-90:] for text in client.troubles[calm:]).most_common(8):
        say(f"  {count:3} {trouble}")
    say(f"connections of {len(followers)} followers: {sum(one.connections for one in followers)}\n")
    for what, found, right in verdict:
        say(f"{'ok  ' if right else 'LOST'}  {what:42} {found}")
    lost = [what for what, _, right in verdict if not right]
    say(f"\nlost: {', '.join(lost) or 'nothing'}")


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def main() -> int:
    """Runs the benchmark from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", type=int, default=3)
    parser.add_argument("--trainings", type=int, default=1)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two kills")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long processes are killed at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where logs are kept; by default nowhere")
    options = parser.parse_args()
    # So that everything is stopped on SIGTERM, too, on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="timbre-chaos-") as folder:
        Path(folder).chmod(0o755)
        place = options.keep or Path(folder) / "run"
        return 0 if run(place, options.datasets, options.trainings, options.every, options.seconds, options.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
