"""The pages: `/` leads to `/webui`, `/docs` shows the OpenAPI document. Nothing is loaded from elsewhere."""

from __future__ import annotations

import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

_BUILT = Path(__file__).parent / "webui" / "dist"
_SWAGGER = Path(__file__).parent / "swagger"

# Everything from here; styles also inline where Swagger UI needs it, or with the nonce that wavesurfer.js is given.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' {styles}; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}
# The name of an asset holds a hash of what is in it.
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_NONCE = "CSP_NONCE"

_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Timbre</title></head><body>
<h1>The page has not been built</h1>
<p>Timbre was set up without its web page. <code>make setup</code> builds it; then load this address again.</p>
<p>The <a href="/docs">API</a> works without it.</p>
</body></html>
"""

router = APIRouter(include_in_schema=False)
_READ: Any = {"methods": ["GET", "HEAD"]}


@router.api_route("/", **_READ)
async def root() -> Response:
    """Lead to the page."""
    return RedirectResponse("/webui", 307)


@router.api_route("/webui/assets/{name}", **_READ)
async def asset(name: str, request: Request) -> Response:
    """Serve a script or a style of the page, compressed as the build left it."""
    kept: dict[str, Path] = request.app.state.assets
    path = kept.get(name)
    if path is None:
        raise HTTPException(404)
    accepted = {part.partition(";")[0].strip() for part in request.headers.get("accept-encoding", "").split(",")}
    for encoding, suffix in _ENCODINGS:
        if encoding in accepted and (compressed := kept.get(name + suffix)):
            headers = {**_FOREVER, "Content-Encoding": encoding}
            return FileResponse(compressed, headers=headers, media_type=_media_type(name))
    return FileResponse(path, headers=_FOREVER, media_type=_media_type(name))


@router.api_route("/webui", **_READ)
@router.api_route("/webui/{path:path}", **_READ)
async def webui(request: Request, path: str = "") -> Response:
    """Serve the page, at whichever of its addresses."""
    template: str | None = request.app.state.page
    if path == "icon.svg":
        return FileResponse(_SWAGGER / "icon.svg", headers=_HEADERS)
    if "." in path.rpartition("/")[2] and "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)  # a file that the page does not have, not one of its addresses
    if template is None:
        return HTMLResponse(_NOT_BUILT, 503, headers=_page_headers("'self'"))
    nonce = secrets.token_urlsafe(16)
    return HTMLResponse(template.replace(_NONCE, nonce), headers=_page_headers(f"'nonce-{nonce}'"))


@router.api_route("/docs", **_READ)
async def docs() -> Response:
    """Serve the API's documentation: Swagger UI."""
    return FileResponse(_SWAGGER / "index.html", headers=_page_headers("'unsafe-inline'"))


@router.api_route("/docs/{name}", **_READ)
async def docs_part(name: str) -> Response:
    """Serve what that page loads of ours."""
    if name not in ("start.js", "icon.svg"):
        raise HTTPException(404)
    return FileResponse(_SWAGGER / name, headers=_HEADERS)


def mount(app: FastAPI) -> None:
    """Adds the pages and what they load to an application."""
    index, assets = _BUILT / "index.html", _BUILT / "assets"
    app.state.page = index.read_text(encoding="utf-8") if index.is_file() else None
    app.state.assets = {path.name: path for path in assets.iterdir()} if assets.is_dir() else {}
    # Swagger UI's script and style, as the package fastapi-offline ships them.
    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")
    app.include_router(router)


def _page_headers(styles: str) -> dict[str, str]:
    return {**_HEADERS, "Content-Security-Policy": _POLICY.format(styles=styles)}


def _media_type(name: str) -> str:
    return {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}.get(
        name.rpartition(".")[2], "application/octet-stream"
    )
