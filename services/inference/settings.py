"""Settings of the inference service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.runtime.settings import RuntimeSettings


class InferenceSettings(RuntimeSettings):
    """Which model speaks, and how much of it is kept and queued."""

    inference_listen: str = "127.0.0.1:50053"
    """Address that the service binds; port 0 takes a free one."""

    base_model: str = "xtts_v2"
    """Base model: `xtts_v2` (fetched on first use), `tiny` (a stand-in made on the spot), or the path of a folder."""

    accept_xtts_license: bool = False
    """Whether the Coqui Public Model License is accepted; without it `xtts_v2` is not fetched."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model computes. Default: a GPU if there is one."""

    preload: bool = False
    """Whether the base model is loaded right after the start, in the background, and not by the first request. The service's
    health is NOT_SERVING until it is loaded."""

    loaded_models: int = Field(default=2, ge=1)
    """Models kept in memory, the base model included; the one that was not used for longest goes first."""

    checkpoint_cache_bytes: int = Field(default=16 << 30, ge=0)
    """Most that copies of checkpoints may take in the cache folder, in bytes; processes that share the folder share them."""

    inference_queue: int = Field(default=8, ge=0)
    """Requests that may wait while one is worked on; further ones are refused for the moment."""

    synthesis_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long a synthesis may take, waiting included, in seconds; the caller's deadline counts when it is shorter."""

    comparison_timeout_seconds: float = Field(default=180.0, gt=0)
    """The same for a comparison, which speaks twice and measures both."""

    stream_timeout_seconds: float = Field(default=900.0, gt=0)
    """The same for a stream as a whole, in seconds; ten minutes of audio are the most that a text makes."""

    load_timeout_seconds: float = Field(default=300.0, gt=0)
    """The same for loading a checkpoint."""
