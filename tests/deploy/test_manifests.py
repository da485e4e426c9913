"""The rendered manifests against the code: settings, ports, probes, images, drains, volumes, secrets."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from services.dataset.servicer import KINDS as DATASET_KINDS
from services.runtime.jobs.ray_runner import resources_of
from services.runtime.settings import RayResources
from services.trainer.servicer import KINDS as TRAINER_KINDS
from tests.deploy.images import DOCKERFILES, ROOT
from tests.deploy.rendered import SERVICES, Object, boxes, environment, of_kind, pods

SETTINGS = {
    "gateway": "gateway.settings.GatewaySettings",
    "dataset": "services.dataset.settings.DatasetSettings",
    "trainer": "services.trainer.settings.TrainerSettings",
    "inference": "services.inference.settings.InferenceSettings",
}
HEALTHY = "timbre.{name}.v1.{title}Service"


def settings_of(name: str) -> type[BaseSettings]:
    module, _, found = SETTINGS[name].rpartition(".")
    value = getattr(importlib.import_module(module), found)
    assert inspect.isclass(value)
    assert issubclass(value, BaseSettings)
    return value


def program(objects: tuple[Object, ...], name: str) -> Object:
    (box,) = of_kind(objects, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(box, dict)
    return box


@pytest.mark.parametrize("name", SETTINGS)
def test_a_programs_own_variables_are_its_settings(objects: tuple[Object, ...], name: str) -> None:
    known = {f"TIMBRE_{field.upper()}" for field in settings_of(name).model_fields}
    own = {row["name"] for box in boxes(pods(objects)[name]) for row in box.get("env", [])}
    assert own - known == set()


def test_every_shared_variable_is_a_setting_of_some_program(objects: tuple[Object, ...]) -> None:
    known = {f"TIMBRE_{field.upper()}" for name in SETTINGS for field in settings_of(name).model_fields}
    shared = {key for found in of_kind(objects, "ConfigMap").values() for key in found["data"] if key.startswith("TIMBRE_")}
    assert len(shared) > 5
    assert shared - known == set()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_settings_accept_what_they_are_given(
    objects: tuple[Object, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environment(objects, name).items():
        secret = "sqlite://" if variable == "TIMBRE_DATABASE_URL" else "s" * 32
        monkeypatch.setenv(variable, value if isinstance(value, str) else secret)
    made = settings_of(name)()
    assert made.model_dump()["auth"] == "jwt"


def test_services_listen_where_the_gateway_dials(objects: tuple[Object, ...]) -> None:
    doors, dials = of_kind(objects, "Service"), environment(objects, "gateway")
    for name, port in SERVICES.items():
        assert dials[f"TIMBRE_{name.upper()}_ADDRESS"] == f"dns:///{name}:{port}"
        assert environment(objects, name)[f"TIMBRE_{name.upper()}_LISTEN"] == f"0.0.0.0:{port}"
        assert program(objects, name)["ports"] == [{"name": "grpc", "containerPort": port}]
        assert doors[name]["spec"]["ports"][0]["port"] == port
        assert doors[name]["spec"]["clusterIP"] == "None", "so that the name has the address of every pod"
        assert doors[name]["spec"]["selector"] == {"app": name}


def test_calls_are_spread_over_the_pods_of_a_name() -> None:
    from gateway.backends import _CHANNEL_OPTIONS
    from services.runtime.server import SERVER_OPTIONS

    assert json.loads(str(dict(_CHANNEL_OPTIONS)["grpc.service_config"]))["loadBalancingConfig"] == [{"round_robin": {}}]
    assert dict(SERVER_OPTIONS)["grpc.max_connection_age_ms"] > 0, "so that a pod that was added is found"


def test_probes_ask_what_the_services_report(objects: tuple[Object, ...]) -> None:
    for name, port in SERVICES.items():
        box = program(objects, name)
        asked = {kind: box[f"{kind}Probe"]["grpc"] for kind in ("startup", "readiness", "liveness")}
        assert {probe["port"] for probe in asked.values()} == {port}
        assert asked["startup"]["service"] == asked["liveness"]["service"] == "", "a model that loads is no reason to restart"
        ready = asked["readiness"]["service"]
        source = ast.walk(ast.parse((ROOT / f"services/{name}/__main__.py").read_text()))
        assert ready in {node.value for node in source if isinstance(node, ast.Constant)}
        assert ready == HEALTHY.format(name=name, title=name.capitalize())
        assert box["command"] == ["python", "-m", f"services.{name}"]
    assert environment(objects, "inference")["TIMBRE_PRELOAD"] == "true", "readiness knows of the model because it is preloaded"
    gateway = program(objects, "gateway")
    assert {gateway[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")} == {"/healthz"}
    assert '"/healthz"' in (ROOT / "gateway/routes/health.py").read_text()


def test_every_image_of_ours_has_its_dockerfile(objects: tuple[Object, ...]) -> None:
    from importlib.metadata import version

    found = {name: [box["image"] for box in boxes(pod)] for name, pod in pods(objects).items()}
    ours = {image for images in found.values() for image in images if image.startswith("timbre/")}
    assert ours <= {f"timbre/{name}:{version('timbre')}" for name in DOCKERFILES}
    for name in SETTINGS:
        assert set(found[name]) == {f"timbre/{name}:{version('timbre')}"}
        _, _, command = DOCKERFILES[name].read_text().rpartition("CMD ")
        assert json.loads(command) == program(objects, name)["command"]


def test_pods_meet_the_restricted_profile(objects: tuple[Object, ...]) -> None:
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    closed = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for name, pod in pods(objects).items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True, name
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for box in boxes(pod):
            assert box["securityContext"] == closed, name
            assert {"cpu", "memory"} <= set(box["resources"]["requests"]), name
            assert "memory" in box["resources"]["limits"], name
        kinds = {kind for volume in pod["spec"]["volumes"] for kind in volume if kind != "name"}
        assert kinds <= allowed, name
        assert all("sizeLimit" in volume["emptyDir"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume), name
    for cluster in of_kind(objects, "RayCluster").values():
        assert cluster["spec"]["autoscalerOptions"]["securityContext"] == closed


def test_what_a_container_writes_to_is_a_volume(objects: tuple[Object, ...]) -> None:
    workloads, shared = of_kind(objects, "Deployment", "StatefulSet"), of_kind(objects, "ConfigMap")
    for name, pod in pods(objects).items():
        claims = workloads.get(name, {}).get("spec", {}).get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]} | {claim["metadata"]["name"] for claim in claims}
        mounted = {mount["name"] for box in boxes(pod) for mount in box["volumeMounts"]}
        assert mounted == volumes, name
        for box in boxes(pod):
            values = [row.get("value", "") for row in box.get("env", [])]
            for source in box.get("envFrom", []):
                values += shared[source["configMapRef"]["name"]]["data"].values()
            folders = {text for text in (*values, *box.get("args", [])) if text.startswith("/") and "python" not in text}
            mounts = [mount["mountPath"] for mount in box["volumeMounts"]]
            outside = {folder for folder in folders if not any(PurePosixPath(folder).is_relative_to(mount) for mount in mounts)}
            assert outside <= ({"/cache"} if box["name"] == "migrate" else set()), name


def test_a_database_is_migrated_before_a_service_opens_it(objects: tuple[Object, ...]) -> None:
    for name in SETTINGS:
        first = {box["name"]: box["command"] for box in pods(objects)[name]["spec"].get("initContainers", [])}
        uses = "TIMBRE_DATABASE_URL" in environment(objects, name)
        assert first == ({"migrate": ["timbre", "migrate"]} if uses else {})


def test_a_pod_outlives_its_drain(objects: tuple[Object, ...]) -> None:
    for name in SETTINGS:
        given, fields = environment(objects, name), settings_of(name).model_fields
        drain = float(given.get("TIMBRE_DRAIN_GRACE_SECONDS", fields["drain_grace_seconds"].default))
        usual = fields["stop_grace_seconds"].default if "stop_grace_seconds" in fields else 0
        stop = float(given.get("TIMBRE_STOP_GRACE_SECONDS", usual))
        pod = pods(objects)[name]["spec"]
        pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > pause + drain + stop, name
        if name == "inference":
            assert drain >= fields["stream_timeout_seconds"].default, "streams finish"
        if name == "gateway":
            assert drain >= fields["comparison_timeout_seconds"].default


def test_no_eviction_takes_all_of_a_service(objects: tuple[Object, ...]) -> None:
    budgets = of_kind(objects, "PodDisruptionBudget")
    for name in SETTINGS:
        assert budgets[name]["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}}
        deployment = of_kind(objects, "Deployment")[name]["spec"]
        assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert (
            spread["labelSelector"] == {"matchLabels": {"app": name}} == {"matchLabels": deployment["selector"]["matchLabels"]}
        )


def test_the_autoscalers_and_the_files_do_not_both_say_how_many(objects: tuple[Object, ...]) -> None:
    deployments = of_kind(objects, "Deployment")
    for name, scaler in of_kind(objects, "HorizontalPodAutoscaler").items():
        assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert "replicas" not in deployments[name]["spec"]


def test_no_secret_is_written_down(objects: tuple[Object, ...]) -> None:
    assert of_kind(objects, "Secret") == {}
    rows = [row for pod in pods(objects).values() for box in boxes(pod) for row in box.get("env", [])]
    secret = [row for row in rows if row["name"].endswith(("SECRET", "_KEY", "PASSWORD", "DATABASE_URL", "TOKEN"))]
    assert len(secret) > 8
    assert [row["name"] for row in secret if "secretKeyRef" not in row.get("valueFrom", {})] == []


def test_secrets_are_told_to_the_operator(objects: tuple[Object, ...]) -> None:
    rows = [row for pod in pods(objects).values() for box in boxes(pod) for row in box.get("env", [])]
    keys = {row["valueFrom"]["secretKeyRef"]["key"] for row in rows if "secretKeyRef" in row.get("valueFrom", {})}
    page = (ROOT / "docs/operations.md").read_text()
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_gpu_work_has_pools_of_its_own(gpu: tuple[Object, ...]) -> None:
    pools: dict[str, Any] = {}
    for name, pod in pods(gpu).items():
        limits = pod["spec"]["containers"][0]["resources"]["limits"]
        if "nvidia.com/gpu" in limits:
            pools[name] = pod["spec"]["nodeSelector"]["timbre/pool"]
            assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]
    assert pools == {"inference": "inference", "ray-gpu": "training"}


def test_ray_itself_reads_the_cluster_and_finds_room_for_every_job(gpu: tuple[Object, ...]) -> None:
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = of_kind(gpu, "RayCluster")["ray"]
    groups = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    head = groups.pop("headgroup" if "headgroup" in groups else "head-group")
    assert head["resources"]["CPU"] == 0, "the head directs, and computes nothing"
    assert {name: group["min_workers"] for name, group in groups.items()} == {"cpu": 0, "gpu": 0}
    assert groups["gpu"]["resources"]["GPU"] == 1
    for name, kinds in (("dataset", DATASET_KINDS), ("trainer", TRAINER_KINDS)):
        given = json.loads(environment(gpu, name)["TIMBRE_RAY_RESOURCES"])
        wanted = {kind: RayResources.model_validate(row) for kind, row in given.items()}
        for kind in kinds:
            need = resources_of(kind, wanted)
            fits = [
                group
                for group, offer in groups.items()
                if offer["resources"]["CPU"] >= need.cpus and offer["resources"].get("GPU", 0) >= need.gpus
            ]
            assert fits == (["gpu"] if need.gpus else ["cpu", "gpu"]), kind


def test_services_and_nodes_agree_about_ray(gpu: tuple[Object, ...]) -> None:
    from importlib.metadata import version

    cluster = of_kind(gpu, "RayCluster")["ray"]
    assert cluster["spec"]["rayVersion"] == version("ray")
    assert cluster["spec"]["enableInTreeAutoscaling"] is True
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "0.0.0.0"
    token = {"secretKeyRef": {"name": "timbre", "key": "ray-token"}}
    for name in ("dataset", "trainer"):
        given = environment(gpu, name)
        assert given["TIMBRE_RUNNER"] == "ray"
        assert given["TIMBRE_RAY_ADDRESS"] == "http://ray-head-svc:8265", "the service that KubeRay makes for a cluster `ray`"
        assert given["TIMBRE_RAY_TOKEN"] == token
        assert given["TIMBRE_RAY_PYTHON"] == "/opt/timbre/bin/python"
    nodes = [pods(gpu)[name]["spec"]["containers"][0]["env"] for name in ("ray-head", "ray-cpu", "ray-gpu")]
    for rows in (*nodes, cluster["spec"]["autoscalerOptions"]["env"]):
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in rows
        assert {"name": "RAY_AUTH_TOKEN", "valueFrom": token} in rows


def test_the_door_suits_audio_and_events(gpu: tuple[Object, ...]) -> None:
    (door,) = of_kind(gpu, "Ingress").values()
    said = {key.rpartition("/")[2]: value for key, value in door["metadata"]["annotations"].items()}
    upload = settings_of("dataset").model_fields["upload_max_bytes"].default
    assert int(said["proxy-body-size"].removesuffix("m")) * 1024**2 >= upload
    assert said["proxy-buffering"] == said["proxy-request-buffering"] == "off"
    assert float(said["proxy-read-timeout"]) >= settings_of("gateway").model_fields["upload_timeout_seconds"].default
    hosts = {rule["host"] for rule in door["spec"]["rules"]}
    assert {host for row in door["spec"]["tls"] for host in row["hosts"]} == hosts
    assert door["spec"]["rules"][0]["http"]["paths"][0]["backend"] == {"service": {"name": "gateway", "port": {"name": "http"}}}
