"""Doors: tokens, scopes, links and limits, at the gateway and at the services behind it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi.routing import APIRoute
from timbre.dataset.v1 import dataset_pb2
from timbre.inference.v1 import inference_pb2
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from gateway import limits
from gateway.app import create_app
from gateway.doors import scopes_of
from gateway.settings import GatewaySettings
from services.dataset.servicer import KINDS as DATASET_KINDS
from services.runtime.auth import SCOPES, Verifier, check_listen, mint
from services.runtime.database import open_database
from services.runtime.errors import FailedPrecondition, Unauthenticated
from services.runtime.jobs import JobQueue, JobState
from services.runtime.jobs.servicer import JobsServicer
from services.runtime.settings import RuntimeSettings
from services.runtime.store import open_store
from services.scopes import JOB_SCOPES, RPC_SCOPES
from services.trainer.servicer import KINDS as TRAINER_KINDS

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a secret of the tests, well over 32 bytes long"
# The hostile tokens are made when the tests are collected, which may be long before they are sent.
DAY = 86_400
STATUS = "/training/status"


def claims(**changes: Any) -> dict[str, Any]:
    said = {"sub": "ana", "iss": "timbre", "aud": "timbre", "exp": int(time.time()) + DAY, "scope": "training", **changes}
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", headers: Any = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def unsigned(**header: Any) -> str:
    parts = [{"typ": "JWT", **header}, claims()]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def forged() -> str:
    """A token whose signature was made by a public key used as a secret."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    head, body = unsigned(alg="HS256").split(".")[:2]
    sealed = hmac.digest(str(key.public_numbers().n).encode(), f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def locked_stack(start_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    locks = {"auth": "jwt", "jwt_secret": SECRET}
    services = RuntimeSettings(data_dir=tmp_path_factory.mktemp("locked"), **locks)
    async with start_stack(service_auth=services, **locks) as stack:
        yield stack


@pytest.fixture
def locked(locked_stack: Any) -> Any:
    locked_stack.script.__init__()
    locked_stack.answer(
        GetTrainingStatus=trainer_pb2.GetTrainingStatusResponse(),
        GetDatasetStats=dataset_pb2.GetDatasetStatsResponse(),
        Synthesize=inference_pb2.SynthesizeResponse(audio_key="inference/a.wav", duration_seconds=1, real_time_factor=1),
    )
    return locked_stack


HOSTILE = {
    "none": ("", "TOKEN_MISSING"),
    "another kind": ("Basic YTpi", "TOKEN_MISSING"),
    "empty": ("Bearer", "TOKEN_MISSING"),
    "nonsense": ("Bearer x.y.z", "TOKEN_INVALID"),
    "alg none": (f"Bearer {unsigned(alg='none')}", "TOKEN_INVALID"),
    "unsigned": (f"Bearer {unsigned(alg='HS256')}", "TOKEN_INVALID"),
    "public key as secret": (f"Bearer {forged()}", "TOKEN_INVALID"),
    "other secret": (f"Bearer {token('another secret that is long enough, too')}", "TOKEN_INVALID"),
    "other algorithm": (f"Bearer {token(SECRET * 2, 'HS512')}", "TOKEN_INVALID"),
    "expired": (f"Bearer {token(exp=int(time.time()) - 60)}", "TOKEN_EXPIRED"),
    "without expiry": (f"Bearer {token(exp=None)}", "TOKEN_INVALID"),
    "without subject": (f"Bearer {token(sub=None)}", "TOKEN_INVALID"),
    "not yet": (f"Bearer {token(nbf=int(time.time()) + DAY)}", "TOKEN_INVALID"),
    "other audience": (f"Bearer {token(aud='elsewhere')}", "TOKEN_INVALID"),
    "other issuer": (f"Bearer {token(iss='elsewhere')}", "TOKEN_INVALID"),
    "huge": (f"Bearer {token(more='x' * 10_000)}", "TOKEN_INVALID"),
    "deep": (f"Bearer {base64.urlsafe_b64encode(b'[' * 4000).decode()}.e.s", "TOKEN_INVALID"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_tokens_over_http(locked: Any, name: str) -> None:
    header, reason = HOSTILE[name]
    answer = await locked.client.get(STATUS, headers={"Authorization": header} if header else {})
    assert (answer.status_code, answer.json()["reason"]) == (401, reason)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert not locked.script.requests.get("GetTrainingStatus")


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_tokens_over_grpc(locked: Any, name: str) -> None:
    header, _ = HOSTILE[name]
    async with grpc.aio.insecure_channel(locked.settings.trainer_address) as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.GetTrainingStatus(
                trainer_pb2.GetTrainingStatusRequest(), metadata=(("authorization", header),) if header else ()
            )
    # gRPC itself refuses metadata over its limit
    assert failed.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert not locked.script.requests.get("GetTrainingStatus")


async def test_a_good_token_goes_all_the_way(locked: Any) -> None:
    answer = await locked.client.get("/training/dataset/stats", headers=bearer(token(scope="dataset:read")))
    assert answer.status_code == 200
    assert len(locked.script.requests["GetDatasetStats"]) == 1


async def test_a_scope_that_is_missing_is_named(locked: Any) -> None:
    answer = await locked.client.get("/training/dataset/stats", headers=bearer(token()))
    assert (answer.status_code, answer.json()["reason"]) == (403, "PERMISSION_DENIED")
    assert "dataset:read" in answer.json()["detail"]
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    for scopes in ("dataset:read", "x dataset:write", ["dataset:read"], "admin"):
        answer = await locked.client.get("/training/dataset/stats", headers=bearer(token(scope=scopes)))
        assert answer.status_code == 200


async def test_services_hold_scopes_themselves(locked: Any) -> None:
    async with grpc.aio.insecure_channel(locked.settings.trainer_address) as channel:
        stub = trainer_pb2_grpc.TrainerServiceStub(channel)
        sent = (("authorization", f"Bearer {token(scope='inference')}"),)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.StopTraining(trainer_pb2.StopTrainingRequest(), metadata=sent)
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("kind", "scopes", "missing"),
    [
        ("trainer.train", "dataset:write", "training"),
        ("trainer.train", "dataset:read dataset:write inference", "training"),
        ("dataset.segment", "training", "dataset:write"),
        ("dataset.import", "training", "dataset:write"),
        ("nobody.knows", "dataset:write training", "admin"),
        ("trainer.train", "training", ""),
        ("dataset.segment", "dataset:write", ""),
        ("nobody.knows", "admin", ""),
    ],
)
async def test_a_job_is_stopped_by_those_who_may_start_it(
    locked: Any, kind: str, scopes: str, missing: str, tmp_path: Path
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'jobs.db'}")
    queue = JobQueue(engine)
    job = queue.submit(kind, "v", {})
    locked.answer(CancelJob=JobsServicer(queue, JOB_SCOPES).CancelJob)
    answer = await locked.client.post(f"/training/jobs/{job.id}/cancel", headers=bearer(token(scope=scopes)))
    assert (answer.status_code, answer.json().get("reason")) == ((403, "PERMISSION_DENIED") if missing else (200, None))
    assert queue.get(job.id).state == (JobState.QUEUED if missing else JobState.STOPPED)
    if missing:
        assert f"the scope {missing}:" in answer.json()["detail"]
        assert f'scope="{missing}"' in answer.headers["www-authenticate"]
    engine.dispose()


async def test_pages_and_probes_are_open(locked: Any) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/webui"):
        assert (await locked.client.get(path)).status_code == 200


async def test_paths_that_nobody_listed_need_admin(locked: Any) -> None:
    for path in ("/nothing", "//training/status", "/training/../training/status", "/%2e%2e/etc/passwd", "/webui%2f..%2ffiles"):
        assert (await locked.client.get(path)).status_code in (401, 404), path
    assert (await locked.client.get("/nothing", headers=bearer(token()))).status_code == 403
    assert (await locked.client.get("/nothing", headers=bearer(token(scope="admin")))).status_code == 404


async def test_links_open_one_object_for_a_while(locked: Any) -> None:
    body = {"text": "Olá.", "checkpoint": "base"}
    headers = bearer(token(scope="inference"))
    link = (await locked.client.post("/training/inference/synthesize", json=body, headers=headers)).json()["audio_url"]
    assert link.startswith("/files/inference/a.wav?expires=")
    path, _, query = link.partition("?")
    # nothing lies there in this store: 404 is what the object store says, behind the door
    assert (await locked.client.get(link)).status_code == 404
    assert (await locked.client.head(link)).status_code == 404
    expires = query.partition("expires=")[2].partition("&")[0]
    tampered = {
        "other object": (link.replace("a.wav", "b.wav"), 403),
        "another spelling": (link.replace("inference/a", "inference//a"), 403),
        "longer": (link.replace(expires, str(int(expires) + 9999)), 403),
        "no date": (link.replace(expires, "x"), 403),
        "signature cut": (link[:-1], 403),
        "signature empty": (f"{path}?expires={expires}&signature=", 403),
        "twice": (f"{link}&expires=99999999999", 403),
        "no link": (path, 401),
        "written to": (link, 401),
    }
    for name, (url, status) in tampered.items():
        method = "POST" if name == "written to" else "GET"
        assert (await locked.client.request(method, url)).status_code == status, name
    assert (await locked.client.get(path, headers=headers)).status_code == 404


async def test_links_to_the_audio_of_datasets(locked: Any) -> None:
    key = "datasets/v/segments/segment_00001.wav"
    page = dataset_pb2.ListSegmentsResponse(segments=[dataset_pb2.Segment(id="segment_00001", path=key)])
    locked.answer(ListSegments=page)
    headers = bearer(token(scope="dataset:read"))
    answer = await locked.client.get("/training/dataset/segments", headers=headers)
    link = answer.json()["segments"][0]["audio_url"]
    assert link.startswith(f"/training/dataset/audio?path={key}&expires=")
    open_store(locked.settings.storage_url).put(key, b"RIFF")
    assert (await locked.client.get(link)).content == b"RIFF"
    assert (await locked.client.head(link)).status_code == 200
    other = key.replace("1.wav", "2.wav")
    tampered = {
        "other object": (link.replace(key, other), 403),
        "two objects": (f"{link}&path={other}", 401),
        "two objects, the other first": (link.replace("?path=", f"?path={other}&path="), 401),
        "no link": (link.partition("&")[0], 401),
        "elsewhere": (link.replace("/audio?", "/stats?"), 401),
    }
    for name, (url, status) in tampered.items():
        assert (await locked.client.get(url)).status_code == status, name
    assert (await locked.client.get(link.partition("&")[0], headers=headers)).content == b"RIFF"
    assert (await locked.client.get(link.partition("&")[0], headers=bearer(token(scope="inference")))).status_code == 403


async def test_reviewing_needs_scopes(locked: Any, caplog: pytest.LogCaptureFixture) -> None:
    locked.answer(PreviewSegmentation=dataset_pb2.PreviewSegmentationResponse())
    read = bearer(token(scope="dataset:read"))
    body = {"folder": "datasets/v", "source": "a"}
    with caplog.at_level("INFO", "timbre.audit"):
        answer = await locked.client.post("/training/dataset/preview", json=body, headers=read)
        assert answer.status_code == 200, "a question, though it is posted"
    assert not [record for record in caplog.records if record.name == "timbre.audit"]
    for method, path in (
        ("PATCH", "/training/dataset/segments/segment_00001"),
        ("POST", "/training/dataset/segments/batch"),
        ("DELETE", "/training/dataset/recordings/a"),
        ("DELETE", "/training/datasets?folder=datasets/v"),
    ):
        answer = await locked.client.request(method, path, json={}, headers=read)
        assert (answer.status_code, answer.json()["reason"]) == (403, "PERMISSION_DENIED"), path


CHECKPOINT = "train/output/v/checkpoints/checkpoint_epoch_10.pth"
EXPORTS = (
    ("/training/checkpoints/export", {"checkpoint_path": CHECKPOINT}, "training", "ExportCheckpoint"),
    ("/training/dataset/export", {"folder": "datasets/é v"}, "dataset:read", "ExportDataset"),
)


async def link_to(stack: Any, path: str, query: dict[str, str], header: dict[str, str]) -> str:
    answer = await stack.client.post("/training/links", json={"path": path, "query": query}, headers=header)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def checkpoint_parts(request: Any, context: Any) -> AsyncIterator[Any]:
    yield inference_pb2.ExportCheckpointResponse(content=request.checkpoint.encode())


async def dataset_parts(request: Any, context: Any) -> AsyncIterator[Any]:
    yield dataset_pb2.ExportDatasetResponse(chunk=request.folder.encode())


@pytest.mark.parametrize(("path", "query", "scope", "rpc"), EXPORTS)
async def test_links_to_exports(locked: Any, path: str, query: dict[str, str], scope: str, rpc: str) -> None:
    locked.answer(ExportCheckpoint=checkpoint_parts, ExportDataset=dataset_parts)
    good = bearer(token(scope=scope))
    link = await link_to(locked, path, query, good)
    assert token(scope=scope).rpartition(".")[2] not in link
    assert await link_to(locked, path, query, good) != link, "no two are alike"
    answer = await locked.client.get(link)
    assert (answer.status_code, answer.text) == (200, next(iter(query.values()))), "the service let it in, too"
    asked, sealed = link.split("&link=")
    elsewhere = next(one for one, *_ in EXPORTS if one != path)
    tampered = {
        "another query": (f"{asked}x&link={sealed}", 403),
        "one parameter more": (f"{asked}&more=x&link={sealed}", 403),
        "the same parameter again": (f"{asked}&{asked.partition('?')[2]}&link={sealed}", 403),
        "another spelling": (link.replace("%2F", "/"), 403),
        "no query": (f"{path}?&link={sealed}", 403),
        "another path": (link.replace(path, elsewhere), 403),
        "cut": (link[:-1], 403),
        "a letter changed": (f"{asked}&link={sealed[:20]}{'A' if sealed[20] != 'A' else 'B'}{sealed[21:]}", 403),
        "longer": (f"{link}AAAA", 403),
        "two of them": (f"{link}&link={sealed}", 403),
        "not sealed": (f"{asked}&link={base64.urlsafe_b64encode(good['Authorization'].encode()).decode()}", 403),
        "empty": (f"{asked}&link=", 403),
        "no link": (asked, 401),
        "as a key to something else": (f"{STATUS}?{asked.partition('?')[2]}&link={sealed}", 401),
    }
    locked.script.requests.clear()
    for name, (url, status) in tampered.items():
        answer = await locked.client.get(url)
        assert answer.status_code == status, name
    for method in ("HEAD", "POST", "DELETE", "PUT"):
        assert (await locked.client.request(method, link)).status_code == 401, method
    assert not locked.script.requests.get(rpc)


async def test_links_need_the_scopes_of_what_they_lead_to(locked: Any) -> None:
    for path, query, scope, _ in EXPORTS:
        for held in ({"dataset:read", "dataset:write", "training", "inference"} - {scope}) | {"nothing"}:
            answer = await locked.client.post(
                "/training/links", json={"path": path, "query": query}, headers=bearer(token(scope=held))
            )
            assert (answer.status_code == 200) == (held in scopes_of("GET", path)), (path, held)
        assert (await locked.client.post("/training/links", json={"path": path, "query": query})).status_code == 401
    for path in (STATUS, "/training/dataset", "/files/inference/a.wav", "//training/dataset/export", "https://example.org", ""):
        answer = await locked.client.post("/training/links", json={"path": path}, headers=bearer(token(scope="admin")))
        assert answer.status_code == 422, path
    body = {"path": EXPORTS[1][0], "query": {"folder": "\ud800"}}
    headers = {**bearer(token(scope="admin")), "Content-Type": "application/json"}
    assert (await locked.client.post("/training/links", content=json.dumps(body), headers=headers)).status_code == 422


async def test_links_to_exports_expire(start_stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start_stack(auth="jwt", jwt_secret=SECRET, link_seconds=30, jwt_leeway_seconds=0) as stack:
        stack.answer(ExportDataset=dataset_parts)
        path, query = "/training/dataset/export", {"folder": "datasets/v"}
        link = await link_to(stack, path, query, bearer(token(scope="dataset:read")))
        short = await link_to(stack, path, query, bearer(token(scope="dataset:read", exp=int(time.time()) + 2)))
        now = time.time
        assert (await stack.client.get(link)).status_code == 200
        monkeypatch.setattr(time, "time", lambda: now() + 31)
        answer = await stack.client.get(link)
        assert (answer.status_code, answer.json()["reason"]) == (403, "LINK_EXPIRED")
        monkeypatch.undo()
        await asyncio.sleep(2.5)
        answer = await stack.client.get(short)
        assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_EXPIRED"), "nor does it outlive the token"


async def test_links_where_nobody_asks_who_comes(start_stack: Any) -> None:
    async with start_stack() as stack:
        stack.answer(ExportDataset=dataset_parts)
        link = await link_to(stack, "/training/dataset/export", {"folder": "datasets/a b"}, {})
        assert link == "/training/dataset/export?folder=datasets%2Fa+b"
        assert (await stack.client.get(link)).text == "datasets/a b"


async def test_links_expire(start_stack: Any) -> None:
    async with start_stack(auth="jwt", jwt_secret=SECRET, link_seconds=0.001) as stack:
        stack.answer(Synthesize=inference_pb2.SynthesizeResponse(audio_key="inference/a.wav"))
        answer = await stack.client.post(
            "/training/inference/synthesize",
            json={"text": "Olá.", "checkpoint": "base"},
            headers=bearer(token(scope="inference")),
        )
        await asyncio.sleep(1.1)
        answer = await stack.client.get(answer.json()["audio_url"])
        assert (answer.status_code, answer.json()["reason"]) == (403, "LINK_EXPIRED")


async def test_a_change_is_written_down(locked: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "timbre.audit"):
        await locked.client.get(STATUS, headers=bearer(token()))
        await locked.client.post("/training/stop", json={}, headers=bearer(token(sub="rui\n", scope="inference")))
    assert [record.getMessage() for record in caplog.records if record.name == "timbre.audit"] == [
        "'rui\\n' POST /training/stop 403"
    ]


async def test_limits(start_stack: Any) -> None:
    async with start_stack(rate_limits="on", rate_limit_dataset="2/minute") as stack:
        stack.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
        answers = [await stack.client.get("/training/dataset/stats") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert answers[2].json()["reason"] == "RATE_LIMITED"
        assert 1 <= int(answers[2].headers["retry-after"]) <= 60
        assert (await stack.client.get("/healthz")).status_code == 200


async def test_limits_count_for_each_caller(start_stack: Any) -> None:
    async with start_stack(auth="jwt", jwt_secret=SECRET, rate_limits="on", rate_limit_dataset="1/minute") as stack:
        stack.answer(GetDatasetStats=dataset_pb2.GetDatasetStatsResponse())
        statuses = [
            (
                await stack.client.get("/training/dataset/stats", headers=bearer(token(sub=who, scope="dataset:read")))
            ).status_code
            for who in ("ana", "rui", "ana")
        ]
        assert statuses == [200, 200, 429]


async def test_what_is_limited() -> None:
    assert limits.kind_of("POST", "/training/start") == "training"
    assert limits.kind_of("POST", "/training/inference/ab-test") == "inference"
    assert limits.kind_of("POST", "/training/inference/stream") == "inference"
    assert limits.kind_of("POST", "/training/inference/votes") == ""
    assert limits.kind_of("POST", "/v1/audio/speech") == "inference"
    assert limits.kind_of("GET", "/v1/models") == ""
    assert limits.kind_of("GET", "/training/dataset/stats") == "dataset"
    assert limits.kind_of("PATCH", "/training/dataset/segments/segment_00001") == "dataset"
    assert limits.kind_of("GET", "/training/dataset/audio") == "", "a player asks for one segment many times"
    assert limits.kind_of("GET", STATUS) == ""


async def test_every_route_has_scopes(tmp_path: Any) -> None:
    app = create_app(GatewaySettings(data_dir=tmp_path))
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods:
                needed = scopes_of(method, route.path)
                assert needed != ("admin",), f"{method} {route.path} is not listed"
                assert set(needed) <= set(SCOPES)
                assert needed or route.path in ("/healthz", "/readyz")


async def test_every_method_has_scopes() -> None:
    services = [
        service for module in (dataset_pb2, trainer_pb2, inference_pb2, jobs_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]  # fmt: skip
    assert {f"/{service.full_name}/{method.name}" for service in services for method in service.methods} == set(RPC_SCOPES)
    assert {scope for needed in (*RPC_SCOPES.values(), *JOB_SCOPES.values()) for scope in needed} <= set(SCOPES)


async def test_every_kind_of_job_has_scopes() -> None:
    assert {kind.partition(".")[0] for kind in (*DATASET_KINDS, *TRAINER_KINDS)} == set(JOB_SCOPES)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.1.2", "example.org", "unix-box.example.org", ""])
async def test_an_open_door_is_refused(host: str, tmp_path: Any) -> None:
    with pytest.raises(FailedPrecondition, match="TIMBRE_INSECURE"):
        check_listen(host, RuntimeSettings(data_dir=tmp_path))
    check_listen(host, RuntimeSettings(data_dir=tmp_path, insecure=True))
    check_listen(host, RuntimeSettings(data_dir=tmp_path, auth="jwt", jwt_secret=SECRET))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.8.8"])
async def test_this_machine_may_always_listen_to_itself(host: str, tmp_path: Any) -> None:
    check_listen(host, RuntimeSettings(data_dir=tmp_path))


@pytest.mark.parametrize(
    "locks",
    [
        {"auth": "jwt"},
        {"auth": "jwt", "jwt_secret": "shorty"},
        {"auth": "jwt", "jwt_secret": SECRET, "jwt_jwks_url": "http://localhost/keys"},
        {"auth": "jwt", "jwt_jwks_url": "http://localhost/keys"},
        {"rate_limit_training": "often"},
    ],
)
async def test_settings_that_lock_nothing_are_refused(locks: Any, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"TIMBRE_|parse") as refused:
        GatewaySettings(data_dir=tmp_path, **locks)
    assert "shorty" not in str(refused.value)


class Issuer:
    """A real HTTP server that lists public keys."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": [_listed(name, key) for name, key in issuer.keys.items()]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _listed(name: str, key: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.keys = {"r": rsa.generate_private_key(65537, 2048), "e": ec.generate_private_key(ec.SECP256R1())}
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


async def test_keys_of_an_issuer(issuer: Issuer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RuntimeSettings(data_dir=tmp_path, auth="jwt", jwt_jwks_url=issuer.url)
    verifier = Verifier(settings)
    for name, algorithm in (("r", "RS256"), ("e", "ES256"), ("r", "RS256")):
        found = await verifier.verify(f"Bearer {token(issuer.keys[name], algorithm, {'kid': name})}")
        assert (found.subject, found.scopes) == ("ana", {"training"})
    assert issuer.asked == 1
    hostile = [
        token(issuer.keys["r"], "RS512", {"kid": "r"}),
        token(issuer.keys["e"], "ES256", {"kid": "r"}),
        token(rsa.generate_private_key(65537, 2048), "RS256", {"kid": "r"}),
        token(SECRET, "HS256", {"kid": "r"}),
        token(issuer.keys["r"], "RS256"),
        unsigned(alg="none", kid="r"),
        unsigned(alg="RS256", kid=["r"]),
    ]
    for number, one in enumerate([*hostile, *(token(SECRET, "HS256", {"kid": f"k{n}"}) for n in range(50))]):
        with pytest.raises(Unauthenticated):
            await verifier.verify(f"Bearer {one}")
        assert issuer.asked <= 2, number  # unknown keys do not make us ask the issuer again and again
    issuer.keys["new"] = ec.generate_private_key(ec.SECP256R1())
    fresh = f"Bearer {token(issuer.keys['new'], 'ES256', {'kid': 'new'})}"
    monkeypatch.setattr("services.runtime.auth._JWKS_RETRY_SECONDS", 0.0)
    assert (await verifier.verify(fresh)).subject == "ana"


async def test_what_is_remembered_of_a_token(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RuntimeSettings(data_dir=tmp_path, auth="jwt", jwt_secret=SECRET, jwt_leeway_seconds=0)
    verifier = Verifier(settings)
    monkeypatch.setattr("services.runtime.auth._REMEMBERED", 3)
    soon = f"Bearer {token(exp=int(time.time()) + 2)}"
    found = await verifier.verify(soon)
    assert await verifier.verify(soon) is found, "its signature is checked once"
    await asyncio.sleep(2.1)
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier.verify(soon)
    for number in range(9):
        await verifier.verify(f"Bearer {token(sub=f's{number}')}")
    assert len(verifier._known) == 3
    now, late = time.time, f"Bearer {token(exp=int(time.time()) + 600)}"
    found = await verifier.verify(late)
    monkeypatch.setattr(time, "time", lambda: now() + 90)
    again = await verifier.verify(late)
    assert again == found
    assert again is not found, "and once more after a minute: the issuer may have taken back the key"


async def test_a_minted_token_counts(tmp_path: Any) -> None:
    settings = RuntimeSettings(data_dir=tmp_path, auth="jwt", jwt_secret=SECRET)
    found = await Verifier(settings).verify(f"Bearer {mint(settings, 'me', ['training', 'inference'], 60)}")
    assert (found.subject, found.scopes) == ("me", {"training", "inference"})


async def test_a_change_names_its_objects_at_every_door(locked: Any, caplog: pytest.LogCaptureFixture) -> None:
    started = trainer_pb2.StartTrainingResponse(job_id="job_1", model_name="voice", output_folder="train/output/voice")
    locked.answer(
        StartTraining=started,
        UploadRecording=dataset_pb2.UploadRecordingResponse(source="s-1", key="datasets/a/raw/s-1.wav"),
        CancelJob=jobs_pb2.CancelJobResponse(),
    )
    body = {"model_name": "voice", "dataset_folder": "datasets/a", "epochs": 10}
    admin = bearer(token(scope="admin"))
    with caplog.at_level("INFO", "timbre.audit"):
        assert (await locked.client.post("/training/start", json=body, headers=admin)).status_code == 200
        form = {"data": {"folder": "datasets/a"}, "files": {"files": ("a\n.wav", b"x")}}
        assert (await locked.client.post("/training/dataset/upload", headers=admin, **form)).status_code == 200
        async with grpc.aio.insecure_channel(locked.settings.trainer_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await trainer_pb2_grpc.TrainerServiceStub(channel).StopTraining(trainer_pb2.StopTrainingRequest())
            await jobs_pb2_grpc.JobsServiceStub(channel).CancelJob(
                jobs_pb2.CancelJobRequest(job_id="job_7"), metadata=[("authorization", admin["Authorization"])]
            )
    lines = [record.getMessage() for record in caplog.records if record.name == "timbre.audit"]
    training = "dataset_folder='datasets/a' job_id='job_1' model_name='voice'"
    recording = "filename='a%0A.wav' folder='datasets/a' key='datasets/a/raw/s-1.wav' source='s-1'"
    assert lines == [
        f"'ana' /timbre.trainer.v1.TrainerService/StartTraining {training} OK",
        f"'ana' POST /training/start {training} 200",
        f"'ana' /timbre.dataset.v1.DatasetService/UploadRecording {recording} OK",
        f"'ana' POST /training/dataset/upload {recording} 200",
        "'anonymous' /timbre.trainer.v1.TrainerService/StopTraining UNAUTHENTICATED",
        "'ana' /timbre.jobs.v1.JobsService/CancelJob job_id='job_7' OK",
    ]
