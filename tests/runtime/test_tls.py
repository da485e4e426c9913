"""TLS at a real service: who gets in, and what happens when certificates are replaced while it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from timbre.inference.v1 import inference_pb2, inference_pb2_grpc

from services.runtime import tls
from services.runtime.errors import FailedPrecondition
from services.runtime.settings import RuntimeSettings
from tests.certificates import Authority, replace
from tests.ports import free_port

# OK is what the service answers; gRPC calls whatever goes wrong before that UNAVAILABLE.
OK, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Service:
    folder: Path
    ours: Authority
    theirs: Authority
    address: str
    probes: str
    files: tuple[Path, Path, Path]

    def reached(self, ca: Path | None, certificate: tuple[Path, Path] | None, address: str = "") -> grpc.StatusCode:
        """Calls over a connection of its own; returns how that ended."""
        key, chain = (certificate[1].read_bytes(), certificate[0].read_bytes()) if certificate else (None, None)
        credentials = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None, key, chain)
        options = [("grpc.use_local_subchannel_pool", 1)]  # or connections of the same certificate are shared
        with grpc.secure_channel(address or self.address, credentials, options) as channel:
            return ask(channel)


def ask(channel: grpc.Channel, seconds: float = 20.0) -> grpc.StatusCode:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    try:
        stub.GetInferenceStatus(inference_pb2.GetInferenceStatusRequest(), timeout=seconds)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return OK


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The inference service, which lets in only holders of our certificates."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
    certificate, key = ours.issue("service")
    ca = replace(folder / "ca.pem", ours.path.read_bytes())
    address, probes = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    environment = {
        "TIMBRE_DATA_DIR": str(folder / "data"),
        "TIMBRE_INFERENCE_LISTEN": address,
        "TIMBRE_HEALTH_LISTEN": probes,
        "TIMBRE_TLS_CERT": str(certificate),
        "TIMBRE_TLS_KEY": str(key),
        "TIMBRE_TLS_CA": str(ca),
    }
    with subprocess.Popen([sys.executable, "-m", "services.inference"], env={**os.environ, **environment}) as process:
        with grpc.insecure_channel(probes) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield Service(folder, ours, theirs, address, probes, (certificate, key, ca))
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_who_gets_in(service: Service) -> None:
    ours, theirs = service.ours, service.theirs
    own = ours.issue("gateway")
    assert service.reached(ours.path, own) is OK
    assert service.reached(ours.path, None) is REFUSED, "no certificate"
    assert service.reached(ours.path, theirs.issue("stranger")) is REFUSED, "another authority's certificate"
    assert service.reached(ours.path, ours.issue("late", days=-1)) is REFUSED, "an expired one"
    assert service.reached(theirs.path, own) is REFUSED, "a client that does not trust the service"
    assert service.reached(None, own) is REFUSED, "a client that trusts the usual authorities"
    assert service.reached(ours.path, own, service.address.replace("127.0.0.1", "127.0.0.2")) is REFUSED, "another host"
    with grpc.insecure_channel(service.address) as channel:
        assert ask(channel) is REFUSED, "plain text"


def test_probes_learn_how_it_is_and_nothing_else(service: Service) -> None:
    with grpc.insecure_channel(service.probes) as channel:
        request = health_pb2.HealthCheckRequest(service="timbre.inference.v1.InferenceService")
        assert health_pb2_grpc.HealthStub(channel).Check(request).status == health_pb2.HealthCheckResponse.SERVING
        assert ask(channel) is grpc.StatusCode.UNIMPLEMENTED


def test_certificates_are_replaced_while_it_runs(service: Service) -> None:
    certificate, key, ca = service.files
    old = service.ours.issue("gateway")
    credentials = grpc.ssl_channel_credentials(service.ours.path.read_bytes(), old[1].read_bytes(), old[0].read_bytes())
    with grpc.secure_channel(service.address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as kept:
        assert ask(kept) is OK
        fresh = Authority(service.folder, "fresh")
        new = fresh.issue("gateway-new")
        fresh.issue("next")
        shutil.copy(service.folder / "next.key", key)  # a moment in which they do not fit together
        assert service.reached(service.ours.path, old) is OK
        shutil.copy(service.folder / "next.crt", certificate)
        replace(ca, fresh.path.read_bytes())
        assert service.reached(fresh.path, new) is OK
        assert service.reached(service.ours.path, old) is REFUSED
        assert service.reached(fresh.path, old) is REFUSED
        assert ask(kept) is OK, "a connection that is open stays open"


def test_files_that_do_not_fit_are_refused_at_the_start(service: Service, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    (one, _), (_, other) = authority.issue("one"), authority.issue("other")
    for files in ((one, other), (one, tmp_path / "nowhere"), (other, other), (one, one)):
        with pytest.raises(FailedPrecondition, match=r"one\.|nowhere|other"):
            tls.Certificates(*files, None)
    with pytest.raises(FailedPrecondition, match="TIMBRE_TLS_CERT"):
        tls.server_credentials(tls.Certificates(None, None, authority.path))
    with pytest.raises(ValueError, match="TIMBRE_TLS_KEY"):
        RuntimeSettings(data_dir=tmp_path, tls_cert=one)
