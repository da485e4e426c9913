"""Settings of the gateway, read from the environment (prefix `TIMBRE_`) in `__main__` and passed down."""

from __future__ import annotations

from pydantic import Field

from services.runtime.settings import RuntimeSettings


class GatewaySettings(RuntimeSettings):
    """Where the gateway listens, where the services are, and how long it waits for them."""

    host: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` lets other machines in; there is no authentication."""

    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""

    dataset_address: str = "127.0.0.1:50051"
    """The dataset service, as gRPC names it: `host:port` or `dns:///host:port`."""

    trainer_address: str = "127.0.0.1:50052"
    """The trainer service, likewise."""

    inference_address: str = "127.0.0.1:50053"
    """The inference service, likewise."""

    call_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a service may take for what is answered at once, in seconds."""

    load_timeout_seconds: float = Field(default=300.0, gt=0)
    """How long loading a checkpoint may take, in seconds; the base model may have to be read from a slow disk first."""

    stop_timeout_seconds: float = Field(default=120.0, gt=0)
    """How long stopping a training may take, in seconds: it saves first, and is killed after its own grace period."""

    synthesis_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long one synthesis may take before it is cancelled down to the model and answered with 504, in seconds."""

    comparison_timeout_seconds: float = Field(default=180.0, gt=0)
    """The same for an A/B comparison, which synthesizes twice and measures both."""

    upload_timeout_seconds: float = Field(default=3600.0, gt=0)
    """How long one uploaded file may take, in seconds."""

    event_comment_seconds: float = Field(default=15.0, gt=0)
    """A stream of events that has nothing to say sends a comment this often, so that proxies keep it open, in seconds."""

    max_json_bytes: int = Field(default=1024 * 1024, gt=0)
    """Largest JSON body that is read, in bytes."""
