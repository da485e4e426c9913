"""What the documents name is there: paths of the file tree, make targets, settings, links."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in ("services", "gateway")
    for path in (ROOT / folder).rglob("settings.py")
)


def tree_paths() -> list[str]:
    """The paths of the file tree at the end of the README: each line is indented by what it lies in."""
    tree = README.rpartition("```\n")[0].rpartition("```\n")[2]
    paths: list[str] = []
    parents: list[str] = []
    for line in tree.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        parents[depth:] = [name]
        paths.append("".join(parents[: depth + 1]))
    return paths


def test_every_path_of_the_tree_exists() -> None:
    paths = tree_paths()
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == [], "run: make docs"


def test_every_module_is_in_the_tree() -> None:
    listed = set(tree_paths())
    modules = [
        str(path.relative_to(ROOT))
        for folder in ("services", "gateway", "timbre", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py" and "migrations" not in path.parts
    ]
    assert [module for module in modules if module not in listed] == [], "run: make docs"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_commands_are_in_the_makefile(document: Path) -> None:
    named = set(re.findall(r"(?:`|^|^[A-Z_]+=\S+ )make ([a-z]+)", document.read_text(), re.M))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named <= targets
    if document.name == "README.md":
        assert {"setup", "run", "demo", "test", "lint", "bench", "protos"} <= named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("module", SETTINGS_MODULES)
def test_every_setting_is_documented(module: str) -> None:
    documented = set(re.findall(r"`(TIMBRE_[A-Z0-9_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    classes = [
        value
        for _, value in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        if issubclass(value, BaseSettings) and value.__module__ == module
    ]
    assert classes
    names = {f"TIMBRE_{name.upper()}" for settings in classes for name in settings.model_fields}
    assert names - documented == set()


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert listed.stdout.startswith("help ")
    assert "run the whole workflow" in listed.stdout
