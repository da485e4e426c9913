"""Errors in the language of the page: every reason that the code can send is in its table, and shown beside the sentence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from playwright.sync_api import expect

from gateway.errors import HTTP_STATUS, RATE_LIMITED, TOO_LARGE
from services.dataset import fetch
from services.runtime.errors import TimbreError, _upper_snake
from services.runtime.jobs.queue import WORKER_LOST
from tests.webui.conftest import Open

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "gateway" / "webui" / "src" / "i18n" / "reasons.ts"
OTHERWISE = {"BACKGROUND_ENDED", "UPLOAD_TOO_LARGE", "DOWNLOAD_FAILED", "DOWNLOAD_STOPPED"}
"""Classes that always come with a reason of their own, or never leave the process."""
NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def trees() -> Iterator[ast.Module]:
    for folder in ("services", "gateway"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield ast.parse(path.read_text(encoding="utf-8"))


def classes_of(modules: list[ast.Module]) -> set[str]:
    """The reasons that are made from the names of the errors' classes."""
    defined = [node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    known = {TimbreError.__name__}
    while True:
        more = {one.name for one in defined if any(isinstance(base, ast.Name) and base.id in known for base in one.bases)}
        if more <= known:
            break
        known |= more
    names = known - {TimbreError.__name__}
    return {_upper_snake(name) for name in names if not name.startswith("_")}


def written_in(modules: list[ast.Module]) -> set[str]:
    """The reasons that are written out where an error is made."""
    found: list[ast.expr] = []
    for module in modules:
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                found += [one.value for one in node.keywords if one.arg == "reason"]
                if isinstance(node.func, ast.Name) and node.func.id in ("Failure", "Refused"):
                    found += node.args
            elif isinstance(node, ast.Dict):
                found += [value for key, value in zip(node.keys, node.values, strict=True) if _is(key, "reason")]
    texts = (one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return {text for text in texts if NAME.fullmatch(text)}


def _is(node: ast.expr | None, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def sendable() -> set[str]:
    modules = list(trees())
    statuses = {code.name for code in HTTP_STATUS if code is not grpc.StatusCode.OK}
    sites = {reason for _, reason, _ in fetch._KNOWN}
    return (classes_of(modules) | written_in(modules) | sites | statuses | {TOO_LARGE, RATE_LIMITED, WORKER_LOST}) - OTHERWISE


def table() -> dict[str, str]:
    return dict(re.findall(r'^  ([A-Z][A-Z0-9_]+):\s+"((?:[^"\\]|\\.)+)",$', TABLE.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_reason_that_can_be_sent_is_in_the_table() -> None:
    known = sendable()
    assert {"TRAINING_RUNNING", "TOKEN_EXPIRED", "RATE_LIMITED", "AGE_RESTRICTED", "UNAVAILABLE"} <= known
    assert known - set(table()) == set(), "say it in gateway/webui/src/i18n/reasons.ts"


def test_no_reason_of_the_table_is_one_that_nobody_sends() -> None:
    assert set(table()) - sendable() == set()


def test_a_new_error_is_noticed() -> None:
    module = ast.parse('class Odd(NotFound): ...\nclass NotFound(TimbreError): ...\nraise NotFound("x", reason="VERY_ODD")')
    assert classes_of([module]) == {"ODD", "NOT_FOUND"}
    assert written_in([module]) == {"VERY_ODD"}


@pytest.mark.usefixtures("stack")
def test_a_refusal_is_said_in_portuguese_with_the_servers_sentence_below(open_window: Open) -> None:
    window = open_window(locale="pt-BR")
    window.allowed = [r"400", r"422", r"404"]
    page = window.page
    window.go("/datasets/recusas")
    page.get_by_label("Endereços de vídeos").fill("https://example.org/video")
    page.get_by_role("button", name="Baixar", exact=True).click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Deste endereço não se pode baixar")
    expect(alert.locator("[lang=en]")).to_contain_text("example.org")

    page.locator("input[type=file]").set_input_files({"name": "contrato.wav", "mimeType": "audio/wav", "buffer": b"%PDF-1.7"})
    row = page.locator(".incoming li", has_text="contrato.wav")
    expect(row.get_by_role("alert")).to_contain_text("não é áudio que se possa ler")
    expect(row.locator("[lang=en]")).not_to_be_empty()
    window.shot("refused-portuguese")

    page.get_by_role("button", name="English").click()
    expect(row.locator("[lang=en]")).to_have_count(0)
    expect(row.get_by_role("alert")).not_to_contain_text("áudio")


@pytest.mark.usefixtures("stack")
def test_a_job_that_failed_says_why_in_portuguese(open_window: Open, media: str) -> None:
    window = open_window(locale="pt-BR")
    page = window.page
    window.go("/datasets/recusas")
    page.get_by_label("Endereços de vídeos").fill(f"{media}/nothing-here.wav")
    page.get_by_role("button", name="Baixar", exact=True).click()
    failed = page.locator(".incoming li", has_text="nothing-here.wav")
    expect(failed.get_by_role("alert")).to_contain_text("Isto não existe, ou não existe mais.")
    expect(failed.locator("[lang=en]")).to_contain_text("HTTP 404")
    window.go("/jobs?state=failed")
    expect(page.locator("tbody tr", has_text="recusas").first).to_contain_text("Isto não existe")
