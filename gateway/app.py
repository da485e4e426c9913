"""The gateway as an application: routes, errors, the OpenAPI document, and what lives as long as it runs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from gateway import errors, pages, translate, uploads
from gateway.backends import open_backends
from gateway.doors import Doors, Links
from gateway.downloads import Downloads
from gateway.middleware import BodyLimit, RequestLog
from gateway.routes import checkpoints, dataset, files, health, inference, jobs, links, me, openai, review, training
from gateway.settings import GatewaySettings
from gateway.watch import Hub
from services.runtime import tls
from services.runtime.auth import open_verifier
from services.runtime.store import open_store

_DESCRIPTION = """\
Turns recordings of a voice into a fine-tuned XTTS-v2 voice, and serves it:
download or upload → segment → transcribe → train → listen and compare.

Work that takes long runs as a job: its start is answered at once with a `job_id`, and `/training/jobs/{job_id}` and its
`events` say how it stands. Every error is `{"detail": "<one sentence>", "reason": "<NAME>"}`; below `/v1/`, where programs
written for OpenAI's speech API find what they know, it has OpenAI's form.
"""

_ROUTERS = (
    dataset.router,
    review.router,
    training.router,
    checkpoints.router,
    inference.router,
    jobs.router,
    files.router,
    links.router,
    openai.router,
    me.router,
    health.router,
)

# Asked for every few seconds by everybody who watches: found without looking through all the others, at 1 µs each.
_POLLED = ("/training/status", "/training/dataset/stats", "/training/jobs/{job_id}")


def create_app(settings: GatewaySettings) -> FastAPI:
    """Returns the application.

    Args:
        settings: Where the services and the object store are, and how long to wait for them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.store = await asyncio.to_thread(open_store, settings.storage_url, settings.s3_credentials)
        app.state.backends = open_backends(settings, inner)
        app.state.hub = Hub(app.state.backends, settings.max_watchers)
        gc.freeze()  # what is there now stays: no collection need look through it again
        renewing = [asyncio.create_task(tls.keep_new(one)) for one in (inner, app.state.https) if one]
        yield
        for task in renewing:
            task.cancel()
        await app.state.hub.close()
        await app.state.backends.close()

    app = FastAPI(
        title="Timbre",
        version=version("timbre"),
        description=_DESCRIPTION,
        openapi_tags=[{"name": name} for name in dict.fromkeys(str(router.tags[0]) for router in _ROUTERS if router.tags)],
        lifespan=lifespan,
        docs_url=None,  # pages.py serves it without loading anything from elsewhere
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    inner = tls.of_services(settings)
    app.state.https = tls.Certificates(settings.https_cert, settings.https_key) if settings.https_cert else None
    errors.install(app)
    secret = settings.link_secret or settings.jwt_secret
    signing = (secret.get_secret_value().encode() if secret else b"", settings.link_seconds)
    links_to_audio, downloads = Links(*signing), Downloads(*signing)
    verifier = open_verifier(settings)
    app.state.upload_quota = None
    if settings.upload_bytes_per_day:
        from gateway.limits import UploadQuota

        app.state.upload_quota = UploadQuota(settings)
    app.state.link = links_to_audio if verifier else translate.values.file_url
    app.state.downloads = downloads if verifier else None
    # the last one added is the first to see a request
    app.add_middleware(BodyLimit, settings=settings, streamed=uploads.PATHS)
    if settings.rate_limits == "on":
        from gateway.limits import RateLimits

        app.add_middleware(RateLimits, settings=settings)
    app.add_middleware(Doors, verifier=verifier, links=links_to_audio, downloads=downloads)
    app.add_middleware(RequestLog)
    # Included as routers they would be searched one inside the other at every request; as it is, from first to last.
    routes = [route for router in _ROUTERS for route in router.routes]
    app.router.routes.extend(sorted(routes, key=lambda route: getattr(route, "path", "") not in _POLLED))
    pages.mount(app)
    app.openapi = partial(_openapi, app.openapi)  # type: ignore[method-assign]  # as FastAPI's manual has it
    return app


def _openapi(generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Takes out the form of errors that FastAPI states for every route with a parameter: ours are `Problem`."""
    document = generate()
    for methods in document["paths"].values():
        for operation in methods.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _operation_id(route: APIRoute) -> str:
    return route.name
