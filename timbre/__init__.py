"""Timbre: turn recordings of a voice into a fine-tuned text-to-speech voice, and serve it.

from timbre import Client

with Client() as timbre:
timbre.segment("datasets/my_voice").wait()
"""

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# The generated gRPC packages (timbre.jobs.v1, …) live in gen/, beside this one.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from timbre.client import errors as errors
    from timbre.client.aio import AsyncClient as AsyncClient
    from timbre.client.aio import AsyncJobHandle as AsyncJobHandle
    from timbre.client.blocking import Client as Client
    from timbre.client.blocking import JobHandle as JobHandle

# Looked up when first used: services import this package for its gRPC code alone.
_PLACES = {
    "AsyncClient": "timbre.client.aio",
    "AsyncJobHandle": "timbre.client.aio",
    "Client": "timbre.client.blocking",
    "JobHandle": "timbre.client.blocking",
    "errors": "timbre.client.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_PLACES[name])
    return module if name == "errors" else getattr(module, name)
