"""`deploy/compose.yaml` against the code and the manifests: what it starts is what a cluster starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.images import DOCKERFILES, ROOT
from tests.deploy.rendered import SERVICES
from tests.deploy.test_manifests import SETTINGS, settings_of

PATH = ROOT / "deploy/compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(PATH.read_text())
OPERATIONS = (ROOT / "docs/operations.md").read_text()

# of the Compose specification, what one machine needs; a misspelt key is found
KNOWN = {
    *("image", "build", "command", "environment", "depends_on", "restart", "stop_grace_period", "healthcheck"),
    *("ports", "networks", "user", "read_only", "cap_drop", "security_opt", "tmpfs", "volumes", "shm_size"),
}


def test_every_key_is_known() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "networks", "volumes"}
    for name, service in COMPOSE["services"].items():
        assert set(service) <= KNOWN, name
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"]), name
        for mount in service.get("volumes", []):
            assert mount.partition(":")[0] in COMPOSE["volumes"], name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in ("service_healthy", "service_completed_successfully")
            assert "healthcheck" in COMPOSE["services"][other] or how["condition"] != "service_healthy", name


@pytest.mark.parametrize("name", SETTINGS)
def test_programs_are_the_clusters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = COMPOSE["services"][name]
    _, _, command = DOCKERFILES[name].read_text().rpartition("CMD ")
    assert service["command"] == yaml.safe_load(command)
    assert service["image"].startswith(f"timbre/{name}:")
    assert (PATH.parent / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DOCKERFILES[name]
    known = {f"TIMBRE_{field.upper()}" for other in SETTINGS for field in settings_of(other).model_fields}
    assert set(service["environment"]) <= known
    for variable, value in service["environment"].items():
        filled = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)
        monkeypatch.setenv(variable, re.sub(r"\$\{.*?\}", "s" * 40, filled))
    assert settings_of(name)().model_dump()["auth"] == "jwt"


def test_services_listen_where_the_gateway_dials() -> None:
    services = COMPOSE["services"]
    for name, port in SERVICES.items():
        assert services["gateway"]["environment"][f"TIMBRE_{name.upper()}_ADDRESS"] == f"dns:///{name}:{port}"
        assert services[name]["environment"][f"TIMBRE_{name.upper()}_LISTEN"] == f"0.0.0.0:{port}"
        assert "ports" not in services[name], "gRPC stays inside"
    assert services["gateway"]["ports"] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_program_may_finish_before_it_is_killed(name: str) -> None:
    drain = settings_of(name).model_fields["drain_grace_seconds"].default
    assert float(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > drain


def test_a_service_that_has_a_database_waits_for_its_schema() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["command"] == ["timbre", "migrate"]
    for name in SETTINGS:
        uses = "TIMBRE_DATABASE_URL" in services[name]["environment"]
        assert uses == ("migrate" in services[name]["depends_on"])


def test_programs_may_write_to_volumes_alone() -> None:
    for name in (*SETTINGS, "migrate"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "10001:10001"
    for name in SERVICES:
        service = COMPOSE["services"][name]
        writable = {mount.split(":")[-1] for mount in service["volumes"]} | {row.partition(":")[0] for row in service["tmpfs"]}
        assert writable == {"/data", "/cache", "/tmp"}, name
    assert Path(COMPOSE["services"]["minio"]["command"][1]) == Path(COMPOSE["services"]["minio"]["volumes"][0].split(":")[1])


def test_what_the_operator_must_give_is_written_down() -> None:
    asked = set(re.findall(r"\$\{(\w+)", PATH.read_text()))
    assert {name for name in asked if f"`{name}`" not in OPERATIONS} == set()
