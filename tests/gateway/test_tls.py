"""HTTPS at the gateway, and TLS on its way to the services, with certificates that are replaced while it runs."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from timbre.trainer.v1 import trainer_pb2

from services.runtime import tls
from services.runtime.settings import RuntimeSettings
from tests.certificates import Authority, replace

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATUS = "/training/status"
IDLE = trainer_pb2.GetTrainingStatusResponse(state=trainer_pb2.TRAINING_STATE_IDLE)


async def shown(port: int) -> bytes:
    """The certificate that the gateway shows to a new connection."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_https(start_stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("web")
    trust = ssl.create_default_context(cafile=authority.path)
    async with start_stack(trust=trust, https_cert=certificate, https_key=key) as stack:
        stack.answer(GetTrainingStatus=IDLE)
        assert (await stack.client.get(STATUS)).status_code == 200
        port = stack.client.base_url.port
        async with httpx.AsyncClient() as stranger:
            with pytest.raises(httpx.HTTPError):
                await stranger.get(f"http://127.0.0.1:{port}{STATUS}")
            with pytest.raises(httpx.ConnectError):  # who does not know the authority does not trust us
                await stranger.get(f"https://127.0.0.1:{port}{STATUS}")
        first = await shown(port)
        authority.issue("web")
        while await shown(port) == first:
            await asyncio.sleep(0.02)
        async with httpx.AsyncClient(base_url=stack.client.base_url, verify=trust) as fresh:
            assert (await fresh.get(STATUS)).status_code == 200
        assert (await stack.client.get(STATUS)).status_code == 200


async def test_the_way_to_the_services(start_stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.05)
    authority = Authority(tmp_path, "authority")
    ca = replace(tmp_path / "ca.pem", authority.path.read_bytes())
    (cert, key), gateway = authority.issue("service"), authority.issue("gateway")
    services = RuntimeSettings(data_dir=tmp_path, tls_cert=cert, tls_key=key, tls_ca=ca)
    async with start_stack(services, tls_cert=gateway[0], tls_key=gateway[1], tls_ca=ca) as stack:
        stack.answer(GetTrainingStatus=IDLE)
        assert (await stack.client.get(STATUS)).status_code == 200
        before = stack.server._app.state.backends.channels["trainer"]._channel
        # everything is replaced: from now on a connection with what was there before leads nowhere
        fresh = Authority(tmp_path, "fresh")
        for name, files in (("service", (cert, key)), ("gateway", gateway)):
            for file, made in zip(files, fresh.issue(f"{name}-new"), strict=True):
                shutil.copy(made, file)
        replace(ca, fresh.path.read_bytes())
        while stack.server._app.state.backends.channels["trainer"]._channel is before:
            answer = await stack.client.get(STATUS)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.02)
        assert (await stack.client.get("/readyz")).status_code == 200
        for _ in range(3):
            assert (await stack.client.get(STATUS)).status_code == 200


@pytest.mark.parametrize("shows", ["nothing", "another's", "plain text"])
async def test_a_gateway_without_the_right_certificate_is_told_so(shows: str, start_stack: Any, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    cert, key = authority.issue("service")
    services = RuntimeSettings(data_dir=tmp_path, tls_cert=cert, tls_key=key, tls_ca=authority.path)
    stranger = other.issue("gateway")
    own: dict[str, Any] = {
        "nothing": {"tls_ca": authority.path},
        "another's": {"tls_ca": authority.path, "tls_cert": stranger[0], "tls_key": stranger[1]},
        "plain text": {},
    }[shows]
    async with start_stack(services, call_timeout_seconds=5.0, **own) as stack:
        answer = await stack.client.get(STATUS)
        assert (answer.status_code, answer.json()["reason"]) == (503, "UNAVAILABLE")
