"""The images: what they install is what their programs import, and the gateway's is small and starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib.metadata import files
from pathlib import Path

import httpx
import pytest
from packaging.utils import canonicalize_name

from tests.deploy.images import (
    DOCKERFILES,
    ELSEWHERE,
    PROGRAMS,
    PROJECT,
    ROOT,
    closure,
    copied,
    group_of,
    imports,
    owners,
    requirements_of,
)
from tests.ports import free_port

IMAGES = sorted(DOCKERFILES)
HEAVY = {"torch", "torchaudio", "coqui-tts", "openai-whisper", "librosa", "scipy", "transformers", "ray", "sqlalchemy", "numpy"}


def test_every_program_has_its_image() -> None:
    assert set(DOCKERFILES) == set(PROGRAMS)


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_nothing_to_say(image: str) -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), DOCKERFILES[image]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_nobody_in_particular(image: str) -> None:
    _, _, final = DOCKERFILES[image].read_text().rpartition("\nFROM ")
    assert "USER 10001:10001\n" in final
    assert "COPY --from=build /opt/timbre /opt/timbre\n" in final
    assert "pip install" not in final


@pytest.mark.parametrize(
    ("image", "module"),
    {"dataset": "whisper", "trainer": "services.trainer.finetune", "inference": "services.xtts.tiny", "ray": "ray"}.items(),
)
def test_what_is_heavy_loads_for_a_user_without_a_name(image: str, module: str) -> None:
    """torch, for one, asks who the user is, and 10001 is in no list of users."""
    nobody = ["unshare", "--user", "--map-user=10001", "--map-group=10001", sys.executable, "-c"]
    if subprocess.run([*nobody, "pass"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a namespace of users")
    (line,) = re.findall(r"^ENV (.+)$", DOCKERFILES[image].read_text(), re.M)
    environment = dict(row.split("=", 1) for row in line.split()) | {"PATH": os.defpath}
    code = f"import {module}, sys; 'torch' in sys.modules and __import__('torch._dynamo')"
    done = subprocess.run([*nobody, code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_installs_what_its_programs_import(image: str) -> None:
    installed = closure(group_of(image)) | ELSEWHERE.get(image, set())
    _, modules = imports(image)
    assert len(modules) > 20
    missing = {module: owners(module) for module in modules if owners(module) and not owners(module) & installed}
    assert missing == {}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_copies_the_code_that_it_runs(image: str) -> None:
    loaded, _ = imports(image)
    sources = copied(image)
    assert [source for source in sources if not source.exists()] == []
    assert {path for path in loaded if not any(path.is_relative_to(source) for source in sources)} == set()


@pytest.mark.parametrize("image", IMAGES)
def test_every_version_is_the_locks(image: str) -> None:
    locked = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M)}
    assert closure(group_of(image)) - locked == set()
    text = DOCKERFILES[image].read_text()
    assert text.count("pip install") == text.count("--constraint") + text.count("--no-deps")


@pytest.mark.parametrize("group", sorted(PROJECT["dependency-groups"]))
def test_a_group_names_only_what_the_project_depends_on(group: str) -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    listed = [*PROJECT["project"]["dependencies"], *extras["ray"], *extras["redis"]]
    names = {canonicalize_name(re.split(r"[\[=<>]", row)[0]) for row in listed}
    assert {canonicalize_name(need.name) for need in requirements_of(group)} - names == set()


def test_the_gateway_starts_with_nothing_but_what_its_image_holds(tmp_path: Path) -> None:
    installed = closure(group_of("gateway"))
    assert installed & HEAVY == set()
    packages, program = tmp_path / "packages", tmp_path / "program"
    for name in installed:
        for file in files(name) or ():
            if ".." not in file.parts and not file.name.endswith(".pth"):
                link = packages / file
                link.parent.mkdir(parents=True, exist_ok=True)
                if file.locate().exists() and not link.exists():
                    link.symlink_to(file.locate())
    for source in copied("gateway"):
        link = program / source.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    for made in (ROOT / "gen/timbre").iterdir():
        (program / "timbre" / made.name).symlink_to(made)
    _describe_timbre(packages)
    port = free_port()
    code = (
        f"import sys, runpy; sys.path[:0] = {[str(program), str(packages)]!r}; runpy.run_module('gateway', run_name='__main__')"
    )
    settings = {"TIMBRE_DATA_DIR": str(tmp_path / "data"), "TIMBRE_PORT": str(port), "TIMBRE_METRICS_LISTEN": "127.0.0.1:0"}
    nobody = f"127.0.0.1:{free_port()}"
    settings |= {f"TIMBRE_{name}_ADDRESS": nobody for name in ("DATASET", "TRAINER", "INFERENCE")}
    # -S: without the packages of this environment
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(command, env={"PATH": os.environ["PATH"], **settings}, cwd=tmp_path) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                _wait_for(client, process)
                assert client.get("/readyz").status_code == 503
                assert json.loads(client.get("/openapi.json").text)["info"]["title"] == "Timbre"
                assert client.get("/webui", follow_redirects=True).status_code == 200
        finally:
            process.terminate()


def _describe_timbre(packages: Path) -> None:
    about = packages / "timbre-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: timbre\nVersion: {PROJECT['project']['version']}\n")


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            assert client.get("/healthz").status_code == 200
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the gateway does not answer")
