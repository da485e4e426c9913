"""The rendered manifests against the code: settings, ports, probes, dialled edges, pod security."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
OVERLAYS = ("local", "gpu")
SERVICES = {"dataset": 50051, "trainer": 50052, "inference": 50053}
# Custom resources: their schemas come with the operator, not with Kubernetes.
CUSTOM = ("PodMonitor", "PrometheusRule")
SETTINGS = ("services.runtime.settings", "gateway.settings", *(f"services.{name}.settings" for name in SERVICES))

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH: overlays cannot be rendered")


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    folder = ROOT / "deploy/k8s/overlays" / request.param
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(objects: list[dict[str, Any]], *kinds: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] in kinds}


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def environment(objects: list[dict[str, Any]]) -> set[str]:
    names = {key for found in of_kind(objects, "ConfigMap").values() for key in found["data"]}
    for workload in of_kind(objects, "Deployment", "StatefulSet").values():
        names |= {row["name"] for box in pod_of(workload)["containers"] for row in box.get("env", [])}
    return {name for name in names if name.startswith("TIMBRE_")}


def fields() -> set[str]:
    return {
        f"TIMBRE_{field.upper()}"
        for module in SETTINGS
        for _, found in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        if issubclass(found, BaseSettings)
        for field in found.model_fields
    }


def test_every_variable_is_a_setting(objects: list[dict[str, Any]]) -> None:
    assert environment(objects) - fields() == set()


def test_services_listen_where_the_gateway_dials(objects: list[dict[str, Any]]) -> None:
    workloads, doors = of_kind(objects, "Deployment"), of_kind(objects, "Service")
    dials = {row["name"]: row.get("value") for row in pod_of(workloads["gateway"])["containers"][0]["env"]}
    for name, port in SERVICES.items():
        box = pod_of(workloads[name])["containers"][0]
        listens = {row["name"]: row.get("value") for row in box["env"]}
        assert dials[f"TIMBRE_{name.upper()}_ADDRESS"] == f"dns:///{name}:{port}"
        assert listens[f"TIMBRE_{name.upper()}_LISTEN"] == f"0.0.0.0:{port}"
        assert box["ports"] == [{"name": "grpc", "containerPort": port}]
        assert doors[name]["spec"]["ports"][0]["port"] == port
        assert doors[name]["spec"]["clusterIP"] == "None"
        assert doors[name]["spec"]["selector"] == {"app": name}


def test_probes_ask_what_the_services_report(objects: list[dict[str, Any]]) -> None:
    for name, port in SERVICES.items():
        box = pod_of(of_kind(objects, "Deployment")[name])["containers"][0]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert box[probe]["grpc"]["port"] == port
        assert f'"{box["readinessProbe"]["grpc"]["service"]}"' in (ROOT / f"services/{name}/__main__.py").read_text()
        assert box["command"] == ["python", "-m", f"services.{name}"]
    box = pod_of(of_kind(objects, "Deployment")["gateway"])["containers"][0]
    assert f'"{box["livenessProbe"]["httpGet"]["path"]}"' in (ROOT / "gateway/routes/health.py").read_text()


def test_pods_meet_the_restricted_profile(objects: list[dict[str, Any]]) -> None:
    for name, workload in of_kind(objects, "Deployment", "StatefulSet").items():
        pod = pod_of(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for box in pod["containers"]:
            assert box["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} <= set(box["resources"]), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name


def test_a_pod_outlives_its_drain(objects: list[dict[str, Any]]) -> None:
    settings = importlib.import_module("services.runtime.settings")
    drain = settings.RuntimeSettings.model_fields["drain_grace_seconds"].default
    stop = settings.JobSettings.model_fields["stop_grace_seconds"].default
    for name in ("gateway", *SERVICES):
        pod = pod_of(of_kind(objects, "Deployment")[name])
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        jobs = stop if name in ("dataset", "trainer") else 0
        assert pod["terminationGracePeriodSeconds"] > pause + drain + jobs, name


def test_network_is_closed_but_for_the_edges(objects: list[dict[str, Any]]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    closed = policies["default-deny"]["spec"]
    assert closed["podSelector"] == {}
    assert sorted(closed["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in closed
    opened = {
        (rule["to"][0]["podSelector"]["matchLabels"]["app"], rule["ports"][0]["port"])
        for rule in policies["gateway"]["spec"]["egress"]
    }
    assert opened == set(SERVICES.items())
    for name, port in SERVICES.items():
        assert policies[name]["spec"]["ingress"] == [
            {"from": [{"podSelector": {"matchLabels": {"app": "gateway"}}}], "ports": [{"port": port}]}
        ]


def test_no_secret_is_written_down(objects: list[dict[str, Any]]) -> None:
    assert of_kind(objects, "Secret") == {}
    for workload in of_kind(objects, "Deployment", "StatefulSet").values():
        for row in (row for box in pod_of(workload)["containers"] for row in box.get("env", [])):
            if row["name"].endswith(("SECRET", "_KEY", "PASSWORD", "DATABASE_URL")):
                assert "secretKeyRef" in row["valueFrom"], row["name"]


def test_every_object_fits_the_schema(objects: list[dict[str, Any]], tmp_path: Path) -> None:
    known = [found for found in objects if found["kind"] not in CUSTOM]
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all(known))
    check = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", "1.32", str(rendered)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed ") == len(known)
