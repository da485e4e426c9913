"""The client against servers that answer well, badly, or not at all."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.client.conftest import Reply, Scripted
from tests.ports import free_port
from timbre import AsyncClient, Client, errors
from timbre.client import transfer
from timbre.client.events import Changed, Ended, LogLine
from timbre.client.request import endpoint, job_endpoint, pause_before_retry

STATS = {"files": 2, "total_hours": 0.5, "transcribed_percent": 100.0, "sources": 1, "excluded": 0, "flagged": 0}
STARTED = {"status": "started", "input_folder": "a", "output_folder": "b", "job_id": "job_1"}
JOB: dict[str, Any] = {
    "id": "job_1", "kind": "dataset.segment", "subject": "datasets/a", "state": "running", "progress": 40.0, "message": "",
    "remaining_seconds": None, "attempts": 1, "stop_requested": False, "error": None, "parameters": {}, "result": None,
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "ended_at": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthenticated),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (418, errors.ApiError),
        (422, errors.InvalidArgument),
        (500, errors.ServerError),
        (504, errors.DeadlineExceeded),
    ],
)
def test_errors_carry_the_sentence_of_the_server(scripted: Scripted, status: int, kind: type[errors.ApiError]) -> None:
    fields = [{"field": "folder", "message": "it must be a name"}]
    scripted.replies = [Reply(status, {"detail": "Do this.", "reason": "WHY", "errors": fields})]
    with Client(scripted.url) as client, pytest.raises(kind, match=r"^Do this\.$") as caught:
        client.stats("datasets/a")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.reason, caught.value.fields) == (status, "WHY", {"folder": "it must be a name"})
    assert len(scripted.asked) == 1


def test_an_error_of_a_proxy_is_told_too(scripted: Scripted) -> None:
    scripted.replies = [Reply(500, b"<html>oops</html>")]
    with Client(scripted.url) as client, pytest.raises(errors.ServerError, match="status 500"):
        client.stats("datasets/a")


def test_an_answer_of_something_else_is_no_answer(scripted: Scripted) -> None:
    scripted.replies = [Reply(200, b"<html>a router</html>")]
    with Client(scripted.url) as client, pytest.raises(errors.UnexpectedAnswer, match="is it Timbre"):
        client.stats("datasets/a")


def test_keys_of_later_servers_are_passed_over(scripted: Scripted) -> None:
    scripted.replies = [Reply(200, {**STATS, "new": 1})]
    with Client(scripted.url) as client:
        assert client.stats("datasets/a").files == 2


def test_reading_is_tried_again(scripted: Scripted) -> None:
    scripted.replies = [Reply(503, {}, {"Retry-After": "0"}), Reply(200, b"{", cut=True), Reply(429, {}), Reply(200, STATS)]
    with Client(scripted.url) as client:
        assert client.stats("datasets/a").files == 2
    assert len(scripted.asked) == 4


def test_a_change_is_not_sent_twice(scripted: Scripted) -> None:
    for reply, kind in ((Reply(503, {}), errors.Unavailable), (Reply(200, b"{", cut=True), errors.ConnectionFailed)):
        scripted.replies, scripted.asked = [reply], []
        with Client(scripted.url) as client, pytest.raises(kind):
            client.cancel_job("job_1")
        assert len(scripted.asked) == 1


def test_what_starts_a_job_is_sent_again_and_counts_once(scripted: Scripted) -> None:
    scripted.replies = [
        Reply(503, {}, {"Retry-After": "0"}),
        Reply(200, b"{", cut=True),
        Reply(200, STARTED),
        Reply(200, STARTED),
    ]
    with Client(scripted.url) as client:
        assert client.segment("datasets/a").id == "job_1"
        client.segment("datasets/a")
    *same, other = [headers["idempotency-key"] for _, _, headers in scripted.asked]
    assert len(same) == 3
    assert len(set(same)) == 1
    assert other != same[0]


def test_a_change_that_was_refused_unseen_is_sent_again(scripted: Scripted) -> None:
    scripted.replies = [Reply(429, {}, {"Retry-After": "0"}), Reply(200, STARTED)]
    with Client(scripted.url) as client:
        assert client.segment("datasets/a").id == "job_1"


def test_patience_ends() -> None:
    assert pause_before_retry(errors.RateLimited(429, {}, 600.0), attempt=0, safe=True) is None
    assert pause_before_retry(errors.RateLimited(429, {}, 5.0), attempt=0, safe=False) == pytest.approx(5.1, abs=0.2)
    assert pause_before_retry(errors.NotFound(404, {}), attempt=0, safe=True) is None


async def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=1) as client, pytest.raises(errors.ConnectionFailed, match=f"cannot be reached at {url}"):
        client.stats("datasets/a")
    async with AsyncClient(url, retries=1) as client:
        with pytest.raises(errors.ConnectionFailed, match="is it running"):
            await client.stats("datasets/a")


def test_the_token_is_sent_and_only_home(scripted: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIMBRE_URL", scripted.url)
    monkeypatch.setenv("TIMBRE_TOKEN", "from-the-environment")
    scripted.replies = [Reply(200, STATS), Reply(200, STATS), Reply(200, b"audio")]
    with Client() as client:
        client.stats("datasets/a")
        with pytest.raises(ValueError, match="is not on"):
            client.fetch("http://elsewhere.example/files/a.wav")
    with Client(token="an-argument") as client:
        client.stats("datasets/a")
        assert client.save("/files/inference/a.wav", tmp_path / "new" / "a.wav").read_bytes() == b"audio"
    assert [headers["authorization"] for _, _, headers in scripted.asked] == [
        "Bearer from-the-environment",
        "Bearer an-argument",
        "Bearer an-argument",
    ]
    assert "an-argument" not in repr(client.__dict__)


def test_a_download_that_breaks_off_leaves_what_was_there(scripted: Scripted, tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    target.write_bytes(b"earlier")
    scripted.replies = [Reply(200, b"half", cut=True)]
    with Client(scripted.url, retries=0) as client, pytest.raises(errors.ConnectionFailed):
        client.save("/files/inference/a.wav", target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert target.read_bytes() == b"earlier"


def test_names_stay_inside_their_part_of_the_path(scripted: Scripted) -> None:
    scripted.replies = [Reply(404, {"detail": "There is none."})]
    with Client(scripted.url) as client, pytest.raises(errors.NotFound):
        client.get_job("../../healthz")
    assert scripted.asked[0][1] == "/training/jobs/..%2F..%2Fhealthz"


def _events(*events: tuple[str, str, str]) -> bytes:
    return "".join(
        f"event: {name}\n{f'id: {number}' if number else ': none'}\ndata: {data}\n\n" for name, number, data in events
    ).encode()


async def test_events_go_on_after_the_connection_broke(scripted: Scripted) -> None:
    job = httpx.Response(200, json=JOB).text
    line = '{"sequence": %d, "time": "2026-01-01T00:00:00Z", "text": "line %d"}'
    stream = {"Content-Type": "text/event-stream"}
    script = [
        Reply(200, _events(("job", "", job), ("log", "1", line % (1, 1))), stream, cut=True),
        Reply(503, {"detail": "Restarting."}),
        Reply(200, _events(("news", "", "{}"), ("log", "2", line % (2, 2)), ("end", "", '{"state": "failed"}')), stream),
    ]
    ended = Reply(200, {**JOB, "state": "failed", "error": "It broke."})

    scripted.replies = [*script, *script, ended]
    with Client(scripted.url) as client:
        seen = list(client.job("job_1").events())
        with pytest.raises(errors.JobFailed, match=r"It broke\."):
            client.job("job_1").wait()
    assert [type(event) for event in seen] == [Changed, LogLine, LogLine, Ended]
    assert [headers["last-event-id"] for _, _, headers in scripted.asked[:3]] == ["0", "1", "1"]

    scripted.replies, scripted.asked = [*script, *script, ended], []
    async with AsyncClient(scripted.url) as client:
        assert [event async for event in client.job("job_1").events()] == seen
        with pytest.raises(errors.JobFailed, match=r"It broke\."):
            await client.job("job_1").wait()


async def test_waiting_ends_in_time_though_nothing_happens(scripted: Scripted) -> None:
    quiet = Reply(200, b"", {"Content-Type": "text/event-stream"}, alive=True)
    scripted.replies = [quiet, quiet]
    with Client(scripted.url) as client, pytest.raises(TimeoutError, match=r"job_1 has not ended after 0\.3 s; it goes on"):
        client.job("job_1").wait(timeout=0.3)
    async with AsyncClient(scripted.url) as client:
        with pytest.raises(TimeoutError, match="it goes on"):
            await client.job("job_1").wait(timeout=0.3)


def test_a_server_that_was_there_is_waited_for(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timbre.client.request._LONGEST_PAUSE_SECONDS", 0.001)
    stream = {"Content-Type": "text/event-stream"}
    begun, away = Reply(200, _events(("job", "", httpx.Response(200, json=JOB).text)), stream), Reply(503, {})
    scripted.replies = [begun, *[away] * 15, Reply(200, _events(("end", "", '{"state": "succeeded"}')), stream)]
    with Client(scripted.url, retries=2) as client:
        assert [type(event) for event in client.job("job_1").events()] == [Changed, Ended]
        scripted.replies, scripted.asked = [away] * 3, []
        with pytest.raises(errors.Unavailable):
            list(client.job("job_1").events())
    assert len(scripted.asked) == 3


async def test_an_upload_is_sent_again_and_counts_once(scripted: Scripted, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"PK")
    answer = {"status": "started", "folder": "datasets/a", "job_id": "job_1"}
    script = [Reply(200, b"{", cut=True), Reply(503, {}), Reply(200, answer)]
    scripted.replies = [*script, *script]
    with Client(scripted.url) as client:
        assert client.import_archive("datasets/a", archive).id == "job_1"
    async with AsyncClient(scripted.url) as client:
        assert (await client.import_archive("datasets/a", archive)).id == "job_1"
    keys = [headers["idempotency-key"] for _, _, headers in scripted.asked]
    assert keys == [keys[0]] * 3 + [keys[3]] * 3
    assert keys[0] != keys[3]


def test_no_file_is_sent_when_one_is_missing(scripted: Scripted, tmp_path: Path) -> None:
    there = tmp_path / "a.wav"
    there.write_bytes(b"RIFF")
    with Client(scripted.url) as client, pytest.raises(FileNotFoundError, match=r"b\.wav"):
        client.upload("datasets/a", there, tmp_path / "b.wav")
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"url": "localhost:8000"}, "http:// or https://"),
        ({"url": "ftp://a.example"}, "http:// or https://"),
        ({"url": "http://"}, "http:// or https://"),
        ({"url": "http://a.example:port"}, "is no URL"),
        ({"token": "ção-secret"}, "The token has"),
        ({"token": "two\nsecret"}, "The token has"),
        ({"ca_file": "/nowhere.pem"}, r"/nowhere\.pem has no certificates"),
        ({"ca_file": __file__}, "has no certificates"),
    ],
)
def test_what_is_no_connection_is_told_at_once(arguments: dict[str, Any], sentence: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(errors.InvalidConnection, match=sentence) as told:
            kind(**arguments)
        assert "secret" not in str(told.value)


def test_a_token_from_a_file_may_end_its_line(scripted: Scripted) -> None:
    scripted.replies = [Reply(200, STATS)]
    with Client(f" {scripted.url}/ ", "a-token\n") as client:
        client.stats("datasets/a")
    assert scripted.asked[0][2]["authorization"] == "Bearer a-token"


def test_a_server_that_has_moved_is_not_followed(scripted: Scripted) -> None:
    scripted.replies = [Reply(308, b"", {"Location": "https://there.example/"})]
    with Client(scripted.url, "a-token") as client, pytest.raises(errors.ApiError, match=r"moved to https://there\.example/"):
        client.stats("datasets/a")
    assert len(scripted.asked) == 1


def test_errors_of_another_form_are_told_too(scripted: Scripted) -> None:
    scripted.replies = [Reply(400, {"errors": ["no"]}), Reply(400, {"errors": "no"})]
    with Client(scripted.url) as client:
        for _ in range(2):
            with pytest.raises(errors.BadRequest, match="status 400"):
                client.stats("datasets/a")


TYPED = """
import asyncio
from contextlib import aclosing
from typing import assert_type

from gateway.schemas.dataset import DatasetStats
from timbre import AsyncClient, AsyncJobHandle, Client, JobHandle

with Client() as client:
    assert_type(client.stats("datasets/a"), DatasetStats)
    assert_type(client.segment("datasets/a", min_duration=5), JobHandle)
    client.segment("datasets/a", min_length=5)
    client.stats(1)


async def main() -> None:
    async with AsyncClient() as timbre:
        stats = asyncio.create_task(timbre.stats("datasets/a"))
        assert_type(await stats, DatasetStats)
        assert_type(await timbre.segment("datasets/a"), AsyncJobHandle)
        async with aclosing(timbre.stream("Bom dia.")) as pieces:
            async for piece in pieces:
                assert_type(piece, bytes)
"""


def test_type_checkers_know_what_methods_take_and_return(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout.splitlines()
    wrong = [[*line.split(": ", 2)[:2], line.rpartition("[")[2]] for line in told if ": error: " in line]
    assert wrong == [["program.py:12", "error", "call-arg]"], ["program.py:13", "error", "arg-type]"]], "\n".join(told)


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_importing_the_client_loads_nothing_heavy() -> None:
    heavy = ("torch", "grpc", "fastapi", "sqlalchemy", "numpy", "typer")
    code = f"import sys; from timbre import Client, AsyncClient; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def described(kind: type) -> set[tuple[str, str]]:
    """Method and path of every request that a client's methods describe, with `x` for each part that is an argument."""
    found = set()
    for name in dir(kind):
        method = inspect.getattr_static(kind, name)
        if isinstance(method, endpoint | job_endpoint):
            describe = method.__wrapped__  # type: ignore[union-attr]
            needed = [one for one in inspect.signature(describe).parameters.values() if one.default is one.empty][1:]
            request = describe(None, *["x"] * len(needed))
            found.add((request.method, request.path))
    return found


def test_every_operation_of_the_api_has_a_method(tmp_path: Path) -> None:
    from gateway.app import create_app
    from gateway.settings import GatewaySettings

    files = {
        ("POST", transfer.UPLOAD_PATH),
        ("POST", transfer.IMPORT_PATH),
        ("POST", transfer.STREAM_PATH),
        ("GET", transfer.DATASET_EXPORT_PATH),
        ("GET", transfer.CHECKPOINT_EXPORT_PATH),
        ("GET", "/training/jobs/x/events"),
    }
    # What `fetch` and `save` get, and `follow` follows, by the URL that an answer gave.
    by_url = {"/files/x", "/training/dataset/audio", "/training/checkpoints/file", "/training/events"}
    paths = create_app(GatewaySettings(data_dir=tmp_path)).openapi()["paths"]
    offered = {
        (method.upper(), re.sub(r"\{[^}]*\}", "x", path))
        for path, methods in paths.items()
        for method in methods
        if not path.startswith("/v1/") and method != "head"
    }
    assert {(method, path) for method, path in offered if path not in by_url} == described(Client) | files
