"""Overlays as `kubectl kustomize` renders them, and views of them."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import Any

import yaml

from tests.deploy.images import ROOT

Object = dict[str, Any]

OVERLAYS = ("local", "gpu")
SERVICES = {"dataset": 50051, "trainer": 50052, "inference": 50053}


@cache
def render(overlay: str) -> tuple[Object, ...]:
    """Returns the objects of an overlay."""
    folder = ROOT / "deploy/k8s/overlays" / overlay
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found)


def of_kind(objects: tuple[Object, ...], *kinds: str) -> dict[str, Object]:
    """Returns the objects of some kinds by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] in kinds}


def pods(objects: tuple[Object, ...]) -> dict[str, Object]:
    """Returns every pod template, those of the Ray cluster included, by the name of what makes it."""
    made = {name: found["spec"]["template"] for name, found in of_kind(objects, "Deployment", "StatefulSet").items()}
    for name, cluster in of_kind(objects, "RayCluster").items():
        made[f"{name}-head"] = cluster["spec"]["headGroupSpec"]["template"]
        made |= {f"{name}-{group['groupName']}": group["template"] for group in cluster["spec"]["workerGroupSpecs"]}
    return made


def boxes(pod: Object) -> list[Object]:
    """Returns the containers of a pod template, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(objects: tuple[Object, ...], name: str) -> dict[str, Any]:
    """Returns the variables of a deployment's program: its own, over those of its config maps; secrets as their references."""
    (box,) = of_kind(objects, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
    maps = of_kind(objects, "ConfigMap")
    found: dict[str, Any] = {}
    for source in box["envFrom"]:
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {row["name"]: row.get("value", row.get("valueFrom")) for row in box["env"]}
