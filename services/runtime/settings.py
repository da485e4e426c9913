"""Settings that every process shares, read from the environment (prefix `TIMBRE_`) in `__main__` and passed down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

from services.runtime.store import S3Credentials


class RuntimeSettings(BaseSettings):
    """Where things are kept, and how a process logs and works."""

    model_config = SettingsConfigDict(
        env_prefix="TIMBRE_",
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # a secret that is too short is still a secret
    )

    data_dir: Path = Path(".timbre")
    """One folder for everything that is kept on this machine. Default: `.timbre` in the folder the process starts in."""

    secrets_dir: Path | None = None
    """Folder with files that are named like settings and hold their values, such as a mounted Kubernetes secret: a setting
    that has no environment variable is read from there. Default: none."""

    storage_url: str = ""
    """Object store: `file:///a/folder` or `s3://bucket?endpoint=http://host:port`. Default: `objects/` in the data folder."""

    s3_access_key: SecretStr | None = None
    """Access key of an `s3://` store. Default: none, then AWS's environment, files, web identity and roles are asked."""

    s3_secret_key: SecretStr | None = None
    """Secret key of an `s3://` store."""

    database_url: str = ""
    """SQLAlchemy URL of the job database. Default: SQLite, `timbre.db` in the data folder."""

    cache_dir: Path | None = None
    """Models that were downloaded or made. Default: `cache/` in the data folder."""

    auth: Literal["off", "jwt"] = "off"
    """Who may call: anybody on this machine (`off`), or holders of a token (`jwt`), here and at every service."""

    insecure: bool = False
    """Whether other machines may be let in without authentication. Default: no, only loopback addresses are bound then."""

    jwt_secret: SecretStr | None = None
    """What tokens are signed with (HS256), at least 32 bytes. This or `jwt_jwks_url` is needed when `auth` is `jwt`."""

    jwt_jwks_url: str = ""
    """Where the issuer of tokens lists its public keys (RS256, ES256)."""

    jwt_issuer: str = Field(default="timbre", min_length=1)
    """What a token must say in `iss`."""

    jwt_audience: str = Field(default="timbre", min_length=1)
    """What a token must say in `aud`."""

    jwt_leeway_seconds: float = Field(default=10.0, ge=0, le=300)
    """How far the clocks of issuer and checker may differ, in seconds."""

    tls_cert: Path | None = None
    """Certificate that the services, and the gateway when it calls them, show each other, PEM. Default: plain text."""

    tls_key: Path | None = None
    """Its key, PEM."""

    tls_ca: Path | None = None
    """Who signs these certificates, PEM. A service then lets in only who shows one; the gateway checks the services' by it."""

    health_listen: str = ""
    """Where a service answers health checks, and nothing else, in plain text, `host:port`, for probes that cannot show a
    certificate. Default: only where it answers everything."""

    max_streams: int = Field(default=1000, gt=0)
    """How many calls a service works on at once for one connection; further ones wait."""

    log_format: Literal["text", "json"] = "text"
    """Log lines for people or, in a cluster, for machines."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least important level that is logged."""

    metrics_listen: str = ""
    """Where metrics are served for Prometheus, `host:port`. Default: nowhere, and nothing is measured."""

    traces_endpoint: str = ""
    """OpenTelemetry collector that traces are sent to, over gRPC: `http://host:4317`. Default: none, and nothing is traced."""

    drain_grace_seconds: float = 20.0
    """How long a stopping process lets requests and workers finish before it ends them, in seconds."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Reads the environment and, after it, the folder of secrets."""
        del dotenv_settings, file_secret_settings
        folder = os.environ.get("TIMBRE_SECRETS_DIR", "")
        secrets = (SecretsSettingsSource(settings_cls, secrets_dir=folder),) if os.path.isdir(folder) else ()
        return init_settings, env_settings, *secrets

    @field_validator("secrets_dir")
    @classmethod
    def _is_a_folder(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError("there is no such folder: mount the secret there, or leave the setting out")
        return value

    @model_validator(mode="after")
    def _fill_places(self) -> Self:
        if self.auth == "jwt" and (self.jwt_secret is None) == (not self.jwt_jwks_url):
            raise ValueError("TIMBRE_AUTH=jwt needs either TIMBRE_JWT_SECRET or TIMBRE_JWT_JWKS_URL, and not both")
        if self.jwt_secret is not None and len(self.jwt_secret.get_secret_value().encode()) < 32:
            raise ValueError("TIMBRE_JWT_SECRET must have at least 32 bytes: openssl rand -base64 48 makes a good one")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TIMBRE_TLS_CERT and TIMBRE_TLS_KEY belong together: set both, or neither")
        if self.database_url and not self.database_url.startswith(("sqlite://", "postgresql+psycopg://")):
            raise ValueError("TIMBRE_DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://")
        self.data_dir = self.data_dir.expanduser().absolute()
        self.storage_url = self.storage_url or (self.data_dir / "objects").as_uri()
        self.database_url = self.database_url or f"sqlite:///{self.data_dir / 'timbre.db'}"
        self.cache_dir = (self.cache_dir or self.data_dir / "cache").expanduser().absolute()
        return self

    @property
    def s3_credentials(self) -> S3Credentials | None:
        """What signs requests to an `s3://` store, when both halves are set."""
        if self.s3_access_key is None or self.s3_secret_key is None:
            return None
        return S3Credentials(self.s3_access_key.get_secret_value(), self.s3_secret_key)

    @property
    def models_dir(self) -> Path:
        """Where downloaded and made models are kept."""
        assert self.cache_dir is not None  # filled by the validator
        return self.cache_dir


class RayResources(BaseModel):
    """What a worker reserves on a node of a Ray cluster.

    Attributes:
        cpus: Cores.
        gpus: GPUs, or a share of one.
        memory_bytes: Memory; 0 reserves none.
        custom: Resources with names of the cluster's own, for placing workers on certain nodes.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0
    custom: dict[str, float] = {}


class JobSettings(RuntimeSettings):
    """How a service runs its jobs."""

    heartbeat_seconds: float = 1.0
    """How often a worker says that it lives, and writes progress and log lines, in seconds."""

    heartbeat_timeout_seconds: float = 15.0
    """A worker that was silent for this long counts as dead, and its job is picked up again, in seconds."""

    stop_grace_seconds: float = 30.0
    """How long a worker that was asked to stop may take to save before it is killed, in seconds."""

    max_crashes: int = 5
    """A job whose worker died this often in a row without making progress has failed."""

    runner: Literal["local", "ray"] = "local"
    """Where workers run: as processes on this machine, or as jobs of a Ray cluster."""

    runner_wait_seconds: float = 0.0
    """How long a job waits for a cluster that is gone or full before it fails, in seconds. Default: for as long as it takes."""

    ray_address: str = "http://127.0.0.1:8265"
    """Job API of the Ray cluster, e.g. `http://ray-head:8265`."""

    ray_token: SecretStr | None = None
    """Token of a Ray cluster that asks for one."""

    ray_python: str = "python"
    """Python on the nodes of the cluster, in which Timbre is installed."""

    ray_resources: dict[str, RayResources] = {}
    """What workers reserve, by kind of job or the part before its dot, as JSON: `{"trainer": {"cpus": 4, "gpus": 1}}`.
    Keys: `cpus` (1), `gpus` (0), `memory_bytes` (0), `custom` (resources by name). Default: one core each."""

    ray_environment: Annotated[tuple[str, ...], NoDecode] = ("TIMBRE_*", "AWS_*", "OMP_NUM_THREADS", "PYTHONPATH")
    """Environment variables that workers get from the service, separated by commas. Whoever may use the cluster's job API
    sees them, secrets among them."""

    @field_validator("ray_environment", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def describe(flaw: Mapping[str, Any]) -> str:
    """Returns what is wrong with a setting in a line: one of a pydantic error's `errors()`."""
    name = "_".join(map(str, flaw["loc"])).upper()
    message = str(flaw["msg"]).removeprefix("Value error, ")
    return f"TIMBRE_{name}: {message}" if name else message
