"""What the Dockerfiles copy and install, and what the programs in their images import."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILES = {path.name.removesuffix(".Dockerfile"): path for path in sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GENERATED = re.compile(r"timbre\.(jobs|dataset|trainer|inference)\.v1")

PROGRAMS = {
    "gateway": ("gateway.__main__",),
    "dataset": ("services.dataset.__main__", "services.dataset.work", "services.runtime.database"),
    "trainer": ("services.trainer.__main__", "services.trainer.work", "services.runtime.database"),
    "inference": ("services.inference.__main__",),
    "ray": ("services.dataset.work", "services.trainer.work"),
}
"""What runs in each image; the database module is what migrates."""

ELSEWHERE = {"dataset": {"ray"}, "trainer": {"ray"}}
"""What only the workers on a Ray cluster load, which run in the image `ray`."""


def group_of(image: str) -> str:
    """Returns the dependency group that an image installs."""
    (found,) = re.findall(r"--group (\S+)", DOCKERFILES[image].read_text())
    return str(found)


def requirements_of(group: str) -> Iterator[Requirement]:
    """Yields what a dependency group names, and the groups that it includes."""
    for row in PROJECT["dependency-groups"][group]:
        if isinstance(row, str):
            yield Requirement(row)
        else:
            yield from requirements_of(row["include-group"])


@cache
def closure(group: str) -> frozenset[str]:
    """Returns every distribution that installing a group brings, as the installed ones declare it."""
    found: set[tuple[str, str]] = set()
    todo = list(requirements_of(group))
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            declared = map(Requirement, distribution(name).requires or ())
            todo += [need for need in declared if need.marker is None or need.marker.evaluate({"extra": extra})]
    return frozenset(name for name, _ in found)


def copied(image: str) -> list[Path]:
    """Returns what of the working tree a Dockerfile copies."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILES[image].read_text(), re.M)
    return [ROOT / source for line in lines for source in line.split()[:-1]]


def imports(image: str) -> tuple[set[Path], set[str]]:
    """Returns the files of ours that an image's programs can come to load, and the modules of others'."""
    ours: set[Path] = set()
    others: set[str] = set()
    todo = [*PROGRAMS[image]]
    while todo:
        name = todo.pop()
        path = _file_of(name)
        if path is None:
            if not name.startswith(("gateway", "services", "timbre")):
                others.add(name)
        elif path not in ours:
            ours.add(path)
            todo += _named_in(path)
            todo += (
                f"services.runtime.migrations.versions.{step.stem}"
                for step in (path.parent / "migrations/versions").glob("*.py")
                if name == "services.runtime.database"
            )
    return ours, others


def owners(module: str) -> set[str]:
    """Returns the distributions that a module can come from; none for the standard library."""
    return {canonicalize_name(name) for name in _distributions().get(module.partition(".")[0], ())}


_distributions = cache(packages_distributions)


def _file_of(module: str) -> Path | None:
    base = ROOT / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _named_in(path: Path) -> Iterable[str]:
    """Yields the modules that a file imports, anywhere in it but for type checkers, or names to start a process with."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), level=0, names=names) if not GENERATED.match(module):
                yield module
                yield from (f"{module}.{name.name}" for name in names if _file_of(f"{module}.{name.name}"))
            case ast.Constant(value=str(text)) if text.startswith("services.") and _file_of(text):
                yield text
        todo += ast.iter_child_nodes(node)
