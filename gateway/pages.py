"""The pages: `/` leads to `/webui`, `/docs` shows the OpenAPI document. Nothing is loaded from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

_PAGES = Path(__file__).parent / "webui"

# Everything from here; styles also inline, which Swagger UI needs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache"}
_WEBUI_HEADERS = {**_PAGE_HEADERS, "Content-Security-Policy": _POLICY.format(styles="")}
_DOCS_HEADERS = {**_PAGE_HEADERS, "Content-Security-Policy": _POLICY.format(styles=" 'unsafe-inline'")}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> Response:
    """Lead to the page."""
    return RedirectResponse("/webui", 307)


@router.get("/webui")
@router.get("/webui/")
async def webui() -> Response:
    """Serve the page that runs the workflow."""
    return FileResponse(_PAGES / "index.html", headers=_WEBUI_HEADERS)


@router.get("/docs")
async def docs() -> Response:
    """Serve the API's documentation: Swagger UI."""
    return FileResponse(_PAGES / "docs.html", headers=_DOCS_HEADERS)


def mount(app: FastAPI) -> None:
    """Adds the pages and what they load to an application."""
    app.include_router(router)
    app.mount("/webui", StaticFiles(directory=_PAGES), name="webui")
    # Swagger UI's script and style, as the package fastapi-offline ships them.
    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")
