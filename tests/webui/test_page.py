"""How the page is built and served: its size, its types, what may be cached, and what its policy lets in."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway import pages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "gateway" / "webui"
LARGEST_FIRST_VIEW = 300_000  # bytes of compressed script

built = pytest.mark.skipif(not (PAGE / "dist" / "index.html").exists(), reason="the web page has not been built: make setup")


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    pages.mount(app)
    return TestClient(app)


@pytest.mark.skipif(not (PAGE / "node_modules").exists(), reason="the page's packages are not there: make setup")
def test_the_types_fit_the_openapi_document() -> None:
    command = [sys.executable, "docs/page_types.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(not (PAGE / "node_modules").exists(), reason="the page's packages are not there: make setup")
def test_stale_types_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import page_types
    finally:
        sys.path.remove(str(ROOT / "docs"))
    stale = tmp_path / "schema.d.ts"
    stale.write_text(page_types.TYPES.read_text(encoding="utf-8").replace("similarity: number", "similarity: string"))
    monkeypatch.setattr(page_types, "TYPES", stale)
    monkeypatch.setattr(sys, "argv", ["page_types.py", "--check"])
    with pytest.raises(SystemExit, match="make types"):
        page_types.main()


@built
@pytest.mark.parametrize("path", ["/webui", "/webui/", "/webui/datasets/my.voice", "/webui/jobs/job_1"])
def test_every_address_of_the_page_answers_with_it(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert '<div id="app">' in answer.text
    assert client.head(path, headers={"Accept": "text/html"}).status_code == 200


@built
def test_the_policy_lets_in_nothing_from_elsewhere_and_no_inline_script(client: TestClient) -> None:
    first, second = client.get("/webui"), client.get("/webui")
    policy = first.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    nonce = re.search(r"'nonce-([\w-]{20,})'", policy)
    assert nonce
    assert f'nonce="{nonce[1]}"' in first.text
    assert nonce[1] not in second.text, "a nonce is for one answer"
    assert "CSP_NONCE" not in first.text
    assert first.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]*src)|style=|<style", first.text)


@built
def test_assets_are_cached_for_ever_and_come_compressed(client: TestClient) -> None:
    assets = re.findall(r'(?:src|href)="(/webui/assets/[^"]+)"', client.get("/webui").text)
    assert any(path.endswith(".js") for path in assets)
    assert any(path.endswith(".css") for path in assets)
    for path in assets:
        assert re.search(r"-[\w-]{8}\.(js|css)$", path), "the name holds a hash"
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "content-encoding" not in plain.headers
        for encoding in ("gzip", "br"):
            with client.stream("GET", path, headers={"Accept-Encoding": f"deflate, {encoding}"}) as answer:
                packed = b"".join(answer.iter_raw())
                assert answer.headers["content-encoding"] == encoding
                assert answer.headers["vary"] == "Accept-Encoding"
                assert answer.headers["content-type"] == plain.headers["content-type"]
            assert len(packed) < len(plain.content) * 0.6
            if encoding == "gzip":
                assert gzip.decompress(packed) == plain.content


@built
def test_the_first_view_is_small(client: TestClient) -> None:
    scripts = re.findall(r'(?:src|href)="/webui/assets/([^"]+\.js)"', client.get("/webui").text)
    assert scripts
    size = sum((PAGE / "dist" / "assets" / f"{name}.gz").stat().st_size for name in scripts)
    assert size < LARGEST_FIRST_VIEW


@built
@pytest.mark.parametrize(
    "path", ["/webui/assets/nothing.js", "/webui/nothing.js", "/webui/assets/..%2findex.html", "/docs/x.js"]
)
def test_what_is_not_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_without_the_page_its_address_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "_BUILT", tmp_path)
    app = FastAPI()
    pages.mount(app)
    client = TestClient(app)
    answer = client.get("/webui/datasets/voice")
    assert answer.status_code == 503
    assert "make setup" in answer.text
    assert client.get("/docs").status_code == 200


def test_setup_without_the_page_says_so() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "webui", "WEBUI=off"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "WEBUI=off" in done.stdout


def test_both_languages_say_everything() -> None:
    """tsc holds the shape of the catalogues; this holds that nothing was left in the other language."""

    def texts(path: Path) -> list[str]:
        return [text for text in re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8")) if text.count(" ") >= 3]

    english, portuguese = texts(PAGE / "src" / "i18n" / "en.ts"), texts(PAGE / "src" / "i18n" / "pt.ts")
    assert len(english) > 80
    assert set(english) & set(portuguese) == {"Olá! Esta é a minha voz."}, "an example of what may be typed, in both"
