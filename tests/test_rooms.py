"""Which package may import which: what is said of the rooms in docs/architecture.md, held against the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "services.runtime": (),
    "services.xtts": ("services.runtime",),
    "services.voices": ("services.runtime",),
    "services.dataset": ("services.runtime", "services.scopes", "timbre.demo"),
    "services.trainer": (
        "services.runtime",
        "services.scopes",
        "services.xtts",
        "services.voices",
        "services.dataset.layout",
        "services.dataset.manifest",
        "services.dataset.requests",
    ),
    "services.inference": (
        "services.runtime",
        "services.scopes",
        "services.xtts",
        "services.voices",
        "services.dataset.normalise",
    ),
    "gateway": ("services.runtime", "services.scopes"),
}
"""Each room and what of other rooms its modules import: the stand-in for Whisper speaks the demonstration's sentences, the
trainer reads the datasets that were made, and inference says texts in the same words as datasets have them."""

GENERATED = re.compile(r"timbre\.\w+\.v1(\.|$)")


def imported(path: Path) -> Iterable[str]:
    """Yields the modules of ours that a file imports, anywhere in it and for type checkers, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found = [name.name for name in names]
            case ast.ImportFrom(module=str(module), level=0, names=names):
                found = [f"{module}.{name.name}" for name in names]
            case _:
                continue
        yield from (
            name for name in found if re.match(r"(services|gateway|timbre|tests)\b", name) and not GENERATED.match(name)
        )


def test_every_service_is_a_room() -> None:
    packages = {f"services.{path.parent.name}" for path in ROOT.glob("services/*/__init__.py")}
    assert packages | {"gateway"} == set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    allowed = (room, *ROOMS[room])
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in ROOT.joinpath(*room.split(".")).rglob("*.py")
        if "node_modules" not in path.parts
        for name in imported(path)
    }
    assert len(found) > 1
    assert {one for one in found if not any(f"{one[1]}.".startswith(f"{name}.") for name in allowed)} == set()
    unused = {name for name in ROOMS[room] if not any(f"{one[1]}.".startswith(f"{name}.") for one in found)}
    assert unused == set()
