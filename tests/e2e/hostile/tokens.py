"""Tokens that do not count, scopes that do not suffice, links that were tampered with: over HTTP, and at each service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from timbre.dataset.v1 import dataset_pb2, dataset_pb2_grpc
from timbre.inference.v1 import inference_pb2, inference_pb2_grpc
from timbre.jobs.v1 import jobs_pb2, jobs_pb2_grpc
from timbre.trainer.v1 import trainer_pb2, trainer_pb2_grpc

from gateway.doors import Links
from gateway.downloads import Downloads
from tests.e2e.hostile.names import NAMES
from tests.e2e.hostile.target import (
    ADMIN,
    AUDIO,
    DAY,
    NOW,
    SECRET,
    STATUS,
    Row,
    Target,
    bearer,
    claims,
    encoded,
    sealed_with_a_public_key,
    token,
    unsigned,
)


def exchanged(good: str) -> str:
    """A token with the claims of another."""
    header, _, signature = good.split(".")
    return f"{header}.{encoded(claims(sub='root'))}.{signature}"


TOKENS = {
    "no token": "",
    "another kind": "Basic YTpi",
    "a token of nothing": "Bearer",
    "nonsense": "Bearer x.y.z",
    "alg none": f"Bearer {unsigned(alg='none')}",
    "alg NoNe": f"Bearer {unsigned(alg='NoNe')}",
    "unsigned": f"Bearer {unsigned(alg='HS256')}",
    "no algorithm": f"Bearer {unsigned()}",
    "a list of algorithms": f"Bearer {unsigned(alg=['HS256'])}",
    "sealed with a public key": f"Bearer {sealed_with_a_public_key()}",
    "another secret": f"Bearer {token('another secret that is long enough, too')}",
    "HS384": f"Bearer {token(SECRET * 2, 'HS384')}",
    "HS512": f"Bearer {token(SECRET * 2, 'HS512')}",
    "RS256": f"Bearer {token(rsa.generate_private_key(65537, 2048), 'RS256')}",
    "expired": f"Bearer {token(exp=NOW - 60)}",
    "no expiry": f"Bearer {token(exp=None)}",
    "expiry at infinity": f"Bearer {token(exp=float('inf'))}",
    "not yet valid": f"Bearer {token(nbf=NOW + DAY)}",
    "issued in the future": f"Bearer {token(iat=NOW + DAY)}",
    "no subject": f"Bearer {token(sub=None)}",
    "a blank subject": f"Bearer {token(sub=' ')}",
    "a number as subject": f"Bearer {token().split('.')[0]}.{encoded(claims(sub=7))}.x",
    "another audience": f"Bearer {token(aud='elsewhere')}",
    "no audience": f"Bearer {token(aud=None)}",
    "another issuer": f"Bearer {token(iss='elsewhere')}",
    "no issuer": f"Bearer {token(iss=None)}",
    "other claims under a good signature": f"Bearer {exchanged(ADMIN)}",
    "huge": f"Bearer {token(more='x' * 20_000)}",
    "deep": f"Bearer {encoded(b'[' * 4000)}.e.s",
    "two in one": f"Bearer {ADMIN}, Bearer {ADMIN}",
}


def token_rows() -> Iterator[Row]:
    for name, header in TOKENS.items():
        headers = (f"Authorization: {header}",) if header else ()
        yield Row(f"{name}, HTTP", 401, lambda target, sent=headers: target.http("GET", STATUS, *sent))
        metadata = (("authorization", header),) if header else ()
        for service, call in CALLS.items():
            # gRPC itself refuses metadata that is larger than it takes
            status = "RESOURCE_EXHAUSTED" if len(header) > 16_384 else "UNAUTHENTICATED"
            yield Row(f"{name}, {service}", status, lambda target, s=service, c=call, m=metadata: target.rpc(s, _with(c, m)))


def _with(call: Callable[..., Any], metadata: Any) -> Callable[[grpc.Channel], Any]:
    return lambda channel: call(channel, metadata)


CALLS: dict[str, Callable[..., Any]] = {
    "dataset": lambda channel, metadata: dataset_pb2_grpc.DatasetServiceStub(channel).ListDatasets(
        dataset_pb2.ListDatasetsRequest(), metadata=metadata, timeout=20
    ),
    "trainer": lambda channel, metadata: trainer_pb2_grpc.TrainerServiceStub(channel).GetTrainingStatus(
        trainer_pb2.GetTrainingStatusRequest(), metadata=metadata, timeout=20
    ),
    "inference": lambda channel, metadata: inference_pb2_grpc.InferenceServiceStub(channel).GetInferenceStatus(
        inference_pb2.GetInferenceStatusRequest(), metadata=metadata, timeout=20
    ),
}


def reflect(channel: grpc.Channel, metadata: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    list(stub.ServerReflectionInfo(requests, metadata=metadata, timeout=20))


def grpc_rows() -> Iterator[Row]:
    for service in CALLS:
        for name, metadata, status in (
            ("without a token", (), "UNAUTHENTICATED"),
            ("with some scopes", bearer(token(scope="dataset:write training inference")), "PERMISSION_DENIED"),
            ("with admin", bearer(ADMIN), "OK"),
        ):
            yield Row(f"reflection of {service} {name}", status, lambda t, s=service, m=metadata: t.rpc(s, _with(reflect, m)))
    stop = trainer_pb2.StopTrainingRequest()
    cancel = jobs_pb2.CancelJobRequest(job_id="job_x")
    upload = [dataset_pb2.UploadRecordingRequest(header=dataset_pb2.UploadHeader(folder="datasets/a", filename="a.wav"))]
    large = dataset_pb2.StartDownloadRequest(folder="datasets/a", urls=["u" * 9_000_000])
    many = (("authorization", f"Bearer {ADMIN}"), ("authorization", f"Bearer {ADMIN}"))

    def trainer(metadata: Any) -> Callable[[Target], str]:
        return lambda t: t.rpc(
            "trainer", lambda c: trainer_pb2_grpc.TrainerServiceStub(c).StopTraining(stop, metadata=metadata)
        )

    def dataset(metadata: Any) -> Callable[[Target], str]:
        return lambda t: t.rpc(
            "dataset", lambda c: dataset_pb2_grpc.DatasetServiceStub(c).UploadRecording(iter(upload), metadata=metadata)
        )

    yield Row("stop a training with the scope inference", "PERMISSION_DENIED", trainer(bearer(token(scope="inference"))))
    yield Row("stop a training with no scope", "PERMISSION_DENIED", trainer(bearer(token(scope=None))))
    yield Row(
        "stop a training with a scope of a similar name", "PERMISSION_DENIED", trainer(bearer(token(scope="Training admins")))
    )
    yield Row("stop a training with two tokens", "UNAUTHENTICATED", trainer(many))
    yield Row("upload without a token", "UNAUTHENTICATED", dataset(()))
    yield Row("upload with the scope dataset:read", "PERMISSION_DENIED", dataset(bearer(token(scope="dataset:read"))))
    yield Row(
        "cancel a job with the scope dataset:read",
        "PERMISSION_DENIED",
        lambda t: t.rpc(
            "dataset",
            lambda c: jobs_pb2_grpc.JobsServiceStub(c).CancelJob(cancel, metadata=bearer(token(scope="dataset:read"))),
        ),
    )
    yield Row(
        "a message of 9 MB",
        "RESOURCE_EXHAUSTED",
        lambda t: t.rpc(
            "dataset", lambda c: dataset_pb2_grpc.DatasetServiceStub(c).StartDownload(large, metadata=bearer(ADMIN))
        ),
    )
    for name in NAMES.values():
        request = dataset_pb2.GetDatasetStatsRequest(folder=name.encode("utf-8", "replace").decode())
        yield Row(
            f"folder {name[:40]!r} over gRPC",
            "INVALID_ARGUMENT",
            lambda t, r=request: t.rpc(
                "dataset", lambda c: dataset_pb2_grpc.DatasetServiceStub(c).GetDatasetStats(r, metadata=bearer(ADMIN))
            ),
        )


def link_rows() -> Iterator[Row]:
    link = Links(SECRET.encode(), DAY)(AUDIO)
    path, _, query = link.partition("?")
    expires, signature = re.findall(r"expires=(\d+)&signature=(.*)", query)[0]
    old = Links(SECRET.encode(), -3600)(AUDIO)
    rows = {
        "as it was given": (link, 200),
        "of another object": (link.replace("a.wav", "big.wav"), 403),
        "of an object in another spelling": (link.replace("inference/a", "inference//a"), 403),
        "of an object further up": (link.replace("inference/a", "inference/../inference/a"), 403),
        "that lasts longer": (link.replace(expires, str(int(expires) + 9999)), 403),
        "that has expired": (old, 403),
        "without a date": (f"{path}?signature={signature}", 403),
        "with a date that is none": (link.replace(expires, "x"), 403),
        "with a date in other digits": (link.replace(expires, quote("".join(chr(0x660 + int(d)) for d in expires))), 403),
        "with a negative date": (link.replace(expires, f"-{expires}"), 403),
        "without a signature": (f"{path}?expires={expires}", 403),
        "with an empty signature": (f"{path}?expires={expires}&signature=", 403),
        "with a signature cut short": (link[:-1], 403),
        "with a longer signature": (f"{link}A", 403),
        "with a signature in other letters": (f"{path}?expires={expires}&signature={quote('ａ' * 43)}", 403),
        "with two dates": (f"{link}&expires=99999999999", 403),
        "with two signatures": (f"{link}&signature={signature}", 403),
        "signed with nothing": (Links(b"", DAY)(AUDIO), 403),
        "without its query": (path, 401),
    }
    for name, (url, status) in rows.items():
        yield Row(f"a link {name}", status, lambda t, u=url: t.http("GET", u))
    yield Row("a link to be written to", 401, lambda t: t.http("POST", link))
    yield Row("a link as a key to something else", 401, lambda t: t.http("GET", f"{STATUS}?{query}"))


def export_rows() -> Iterator[Row]:
    path, query, header = "/training/dataset/export", {"folder": "datasets/none"}, f"Bearer {ADMIN}"
    downloads = Downloads(SECRET.encode(), DAY)
    link = downloads.link(path, query, header)
    asked, sealed = link.split("&link=")
    rows = {
        # nothing lies there: 404 is what the service says, behind the door
        "as it was given": (link, 404),
        "to another dataset": (link.replace("none", "a"), 403),
        "to the same in another spelling": (link.replace("%2F", "/"), 403),
        "to two datasets": (f"{asked}&folder=datasets%2Fa&link={sealed}", 403),
        "to two datasets, the other last": (f"{link}&folder=datasets%2Fa", 403),
        "to a checkpoint": (link.replace(path, "/training/checkpoints/export"), 403),
        "that has expired": (Downloads(SECRET.encode(), -3600).link(path, query, header), 403),
        "cut short": (link[:-1], 403),
        "cut to nothing": (f"{asked}&link=", 403),
        "cut to less than it must hold": (f"{asked}&link=AAAA", 403),
        "made longer": (f"{link}A", 403),
        "in other letters": (f"{asked}&link={quote('ａ' * 60)}", 403),
        "twice": (f"{link}&link={sealed}", 403),
        "sealed with nothing": (Downloads(b"", DAY).link(path, query, header), 403),
        "with a token that does not count": (downloads.link(path, query, f"Bearer {token('x' * 40)}"), 401),
        "with a token that has expired": (downloads.link(path, query, f"Bearer {token(exp=NOW - 60)}"), 401),
        "with a token that lacks the scope": (downloads.link(path, query, f"Bearer {token(scope='training')}"), 403),
        "with no token": (downloads.link(path, query, ""), 401),
        "as a key to something else": (link.replace(path, STATUS), 401),
        "as a key to audio": (link.replace(path, f"/files/{AUDIO}"), 401),
    }
    for name, (url, status) in rows.items():
        yield Row(f"a link to an export {name}", status, lambda t, u=url: t.http("GET", u))
    for method in ("HEAD", "POST", "DELETE"):
        yield Row(f"a link to an export for {method}", 401, lambda t, m=method: t.http(m, link))
    for other in (STATUS, "/files/inference/a.wav", "/training/dataset/export/../audio", "//example.org", "/training/links"):
        yield Row(f"a link wanted to {other}", 422, lambda t, p=other: t.json("POST", "/training/links", {"path": p}))
    body = b'{"path": "/training/dataset/export"}'
    yield Row(
        "a link wanted without the scope",
        403,
        lambda t: t.http(
            "POST", "/training/links", "Content-Type: application/json", body=body, token=token(scope="training inference")
        ),
    )


def rows() -> Iterator[Row]:
    """Every row of this module."""
    yield from token_rows()
    yield from grpc_rows()
    yield from link_rows()
    yield from export_rows()
