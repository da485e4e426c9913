"""Settings of the gateway, read from the environment (prefix `TIMBRE_`) in `__main__` and passed down."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.balancing import check_address
from services.runtime.settings import RuntimeSettings


class GatewaySettings(RuntimeSettings):
    """Where the gateway listens, where the services are, and how long it waits for them."""

    host: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` lets other machines in; see `TIMBRE_AUTH`."""

    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""

    https_cert: Path | None = None
    """Certificate that the gateway shows its callers, PEM. Default: none, it speaks plain HTTP."""

    https_key: Path | None = None
    """Its key, PEM."""

    dataset_address: str = "127.0.0.1:50051"
    """The dataset service, as gRPC names it: `host:port`, or for several replicas `dns:///name:port` (a name that stands for
    all of them) or their IP addresses, `10.0.0.1:50051,10.0.0.2:50051`."""

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

    stream_timeout_seconds: float = Field(default=900.0, gt=0)
    """The same for speech that is streamed, and for the export of a checkpoint, as a whole."""

    upload_timeout_seconds: float = Field(default=3600.0, gt=0)
    """How long one uploaded file may take, in seconds."""

    dataset_timeout_seconds: float = Field(default=120.0, gt=0)
    """How long deleting a dataset or a first look at a recording for a preview may take, in seconds: both grow with it."""

    event_comment_seconds: float = Field(default=15.0, gt=0)
    """A stream of events that has nothing to say sends a comment this often, so that proxies keep it open, in seconds."""

    link_secret: SecretStr | None = None
    """What signs links to audio and exports, at least 32 bytes. Default: `jwt_secret`; needed when tokens have public keys."""

    link_seconds: float = Field(default=3600.0, gt=0)
    """How long a link to audio or an export is valid when `auth` is `jwt`, in seconds."""

    rate_limits: Literal["off", "on"] = "off"
    """Whether callers are kept from asking too often."""

    rate_limit_training: str = "1/minute"
    """How many trainings a caller may start, as the package `limits` writes it."""

    rate_limit_inference: str = "10/minute"
    """How many syntheses and comparisons a caller may ask for, likewise."""

    rate_limit_dataset: str = "60/minute"
    """How many requests about datasets a caller may send, likewise."""

    rate_limit_storage_url: str = "memory://"
    """Where requests are counted: `memory://` for one gateway, `redis://host:port` for several that count together."""

    max_json_bytes: int = Field(default=1024 * 1024, gt=0)
    """Largest JSON body that is read, in bytes."""

    upload_bytes_per_day: int = Field(default=0, ge=0)
    """How much one caller may upload in a day, in bytes, counted as requests are. Default: 0, as much as they like."""

    max_connections: int = Field(default=5000, gt=0)
    """How many connections there may be; requests on further ones are refused for the moment."""

    max_watchers: int = Field(default=2000, gt=0)
    """How many streams of events may be open; further ones are refused for the moment."""

    head_timeout_seconds: float = Field(default=20.0, gt=0)
    """How long a client may take to send the head of a request, in seconds."""

    body_timeout_seconds: float = Field(default=20.0, gt=0)
    """How long a client may let us wait for its body, in seconds, all waits together; large ones have longer, see next."""

    body_bytes_per_second: float = Field(default=1024.0, gt=0)
    """How fast a body must come at least once `body_timeout_seconds` are over, in bytes a second."""

    send_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long a client may stop to read its answer before it is hung up on, in seconds."""

    @field_validator("dataset_address", "trainer_address", "inference_address")
    @classmethod
    def _check_address(cls, text: str) -> str:
        return check_address(text)

    @field_validator("rate_limit_training", "rate_limit_inference", "rate_limit_dataset")
    @classmethod
    def _check_limit(cls, text: str) -> str:
        from limits import parse

        parse(text)
        return text

    @model_validator(mode="after")
    def _check_link_secret(self) -> Self:
        if (self.https_cert is None) != (self.https_key is None):
            raise ValueError("TIMBRE_HTTPS_CERT and TIMBRE_HTTPS_KEY belong together: set both, or neither")
        if self.auth == "jwt" and self.link_secret is None and self.jwt_secret is None:
            raise ValueError("TIMBRE_LINK_SECRET is needed beside TIMBRE_JWT_JWKS_URL: it signs links to audio")
        if self.link_secret is not None and len(self.link_secret.get_secret_value().encode()) < 32:
            raise ValueError("TIMBRE_LINK_SECRET must have at least 32 bytes")
        return self
