"""What a job says of its progress, in the language of the page: whatever the services say is in its table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.webui.conftest import Open

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "gateway" / "webui" / "src" / "i18n" / "progress.ts"
SAYS = {"progress", "report"}
"""Functions that are given a fraction and words."""
RETURNS = {"_no_room", "_unreachable", "_refused", "_basis"}
"""Functions that return why a job waits, and what an estimate is based on."""
SAMPLE = "3"


def rows() -> list[tuple[str, str]]:
    """The table's expressions and what each becomes; none uses what Python writes differently."""
    return re.findall(r'\[\s*/(\^.*?\$)/,\s*"([^"]+)",?\s*\]', TABLE.read_text(encoding="utf-8"))


def words_of(node: ast.expr) -> str | None:
    """A text with something in place of what it names; `{message}`, which others say, stays."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(_part(part) for part in node.values)


def _part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    if isinstance(part.value, ast.Name) and part.value.id in ("message", "lacks"):
        return f"{{{part.value.id}}}"
    percent = part.format_spec is not None and "%" in ast.unparse(part.format_spec)
    return f"{SAMPLE}%" if percent else SAMPLE


def said_in(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            sighted = isinstance(node.args[0], ast.Attribute) and node.args[0].attr == "WAITING"
            if name in SAYS or name.endswith("on_progress") or sighted:
                yield from filter(None, [words_of(node.args[1])])
        elif isinstance(node, ast.FunctionDef) and node.name in RETURNS:
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
            yield from filter(None, map(words_of, returned))


def said_under(*folders: str) -> set[str]:
    found: set[str] = set()
    for folder in folders:
        path = ROOT / folder
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found |= set(said_in(ast.parse(file.read_text(encoding="utf-8"))))
    return found


def sayable() -> set[str]:
    """Every message of a job, with those of a model that is being prepared in the words of whoever waits for it."""
    base = said_under("services/xtts")
    whisper = said_under("services/dataset/whisper_models.py", "services/dataset/whisper_standin.py")
    of_a_video = said_under("services/dataset/download.py")
    own = said_under("services/dataset", "services/trainer", "services/runtime") - whisper - of_a_video
    found: set[str] = set()
    for text in own:
        inner = base if text.startswith("base model") else whisper
        found |= {text.replace("{message}", one) for one in inner} if "{message}" in text else {text}
    lacking = ", its nodes have 0 train and 1 CPU in all"
    return {text.replace("{lacks}", lacks) for text in found for lacks in ("", lacking)}


def test_whatever_a_job_says_is_in_the_table() -> None:
    said = sayable()
    assert {"Epoch 3 of 3", "3 of 3 videos", "base model: Downloading 3 (3%)", "Fetching Whisper 3 (3%)"} <= said
    known = [re.compile(expression) for expression, _ in rows()]
    assert {text for text in said if not any(one.search(text) for one in known)} == set()


def test_nothing_in_the_table_is_said_by_nobody() -> None:
    said = sayable()
    assert [expression for expression, _ in rows() if not any(re.search(expression, text) for text in said)] == []


def test_what_is_named_is_named_in_every_language() -> None:
    assert len(rows()) == TABLE.read_text(encoding="utf-8").count("$/,")
    for expression, here in rows():
        groups = re.compile(expression).groups
        assert sorted(re.findall(r"\$(\d)", here)) == [str(number) for number in range(1, groups + 1)], here


@pytest.mark.usefixtures("voice")
def test_an_estimate_is_said_in_portuguese(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    window.go("/train?dataset=datasets/ready")
    basis = page.locator(".estimate .hint")
    expect(basis).to_have_text(
        re.compile(r"^[\d,]+ s por passo, como levou o treino de \S+ na CPU com \d+ threads? com lote de 4\.$")
    )
    page.get_by_label("Tamanho do lote").fill("6")
    expect(basis).to_contain_text("em proporção para lote de 6.")
    page.get_by_role("button", name="English").click()
    expect(basis).to_contain_text("in proportion for batch size 6.")


def test_a_new_message_is_noticed() -> None:
    module = ast.parse(
        'job.progress(0.5, f"{done} of {total} odd things ({part:.0%})")\nSighting(WorkerState.WAITING, "no luck")'
    )
    assert set(said_in(module)) == {"3 of 3 odd things (3%)", "no luck"}


@pytest.mark.usefixtures("stack")
def test_progress_is_said_in_portuguese(open_window: Open, media: str) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    window.go("/datasets/andamento")
    page.get_by_label("Endereços de vídeos").fill(f"{media}/voice-1.wav")
    page.get_by_role("button", name="Baixar", exact=True).click()
    window.go("/jobs")
    row = page.locator("tbody tr", has_text="andamento").first
    expect(row).to_contain_text("1 de 1 vídeos", timeout=60_000)
    page.get_by_role("button", name="English").click()
    expect(row).to_contain_text("1 of 1 videos")
