"""Every rendered object fits its schema, and the policy lint has nothing to say that is not explained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.images import ROOT
from tests.deploy.rendered import OVERLAYS, Object, of_kind, pods, render

CHECKOV = ROOT / ".venv/checkov/bin/checkov"
RULES = ROOT / "deploy/k8s/checkov.yaml"


def with_ray_as_pods(objects: tuple[Object, ...]) -> list[Object]:
    """Returns the objects that Kubernetes knows, and the templates of Ray's nodes as pods."""
    nodes = [
        {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": {**pod["metadata"], "name": name, "namespace": "timbre"}}
        for name, pod in pods(objects).items()
        if of_kind(objects, "RayCluster") and name.startswith("ray-")
    ]
    return [found for found in objects if found["kind"] not in SCHEMAS] + nodes


def test_every_object_fits_the_schema(objects: tuple[Object, ...], tmp_path: Path) -> None:
    known = with_ray_as_pods(objects)
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(yaml.safe_dump_all(known))
    check = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", "1.32", str(rendered)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed ") == len(known)


def test_custom_resources_have_no_field_that_we_do_not_know(gpu: tuple[Object, ...]) -> None:
    found = [one for one in gpu if one["kind"] in SCHEMAS]
    assert {one["kind"] for one in found} == set(SCHEMAS)
    for one in found:
        jsonschema.validate(one, SCHEMAS[one["kind"]])


def test_the_policy_lint_has_nothing_to_say(tmp_path: Path, gpu: tuple[Object, ...]) -> None:
    if not CHECKOV.exists():
        pytest.skip("checkov is not installed beside the project: make test does it")
    files = []
    for overlay in OVERLAYS:
        files.append(tmp_path / f"{overlay}.yaml")
        files[-1].write_text(yaml.safe_dump_all(with_ray_as_pods(render(overlay))))
    named = [word for file in files for word in ("--file", str(file))]
    # every check, so that a suppression that nothing needs any more is seen
    command = [CHECKOV, "--framework", "kubernetes", "--skip-download", "--output", "json", *named]
    environment = {"PATH": str(CHECKOV.parent), "LOG_LEVEL": "ERROR", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 500
    assert report["summary"]["parsing_errors"] == 0
    failed: dict[str, set[str]] = {}
    for row in report["results"]["failed_checks"]:
        failed.setdefault(f"{row['check_id']}: {row['check_name']}", set()).add(row["resource"])
    allowed = set(yaml.safe_load(RULES.read_text())["skip-check"])
    assert {check: where for check, where in failed.items() if check.partition(":")[0] not in allowed} == {}
    assert allowed == {check.partition(":")[0] for check in failed}, "a suppression that nothing needs"


def test_every_suppression_is_explained() -> None:
    lines = RULES.read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\s+- CKV", line):
            assert re.match(r"\s+# [A-Z].{40,}\.$", lines[number - 1]), line
    for path in (ROOT / "deploy/k8s").rglob("*.yaml"):
        reasons: list[Any] = re.findall(r"checkov\.io/skip\d+: (CKV\w+)(=.{20,})?", path.read_text())
        assert all(reason for _, reason in reasons), path
