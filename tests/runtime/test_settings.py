"""Settings from the environment and from files with secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from services.runtime.settings import JobSettings, RuntimeSettings, describe


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Kubernetes mounts a secret: names lead through a link to the present version."""
    version = tmp_path / "secrets" / "..2026_11_24"
    version.mkdir(parents=True)
    (tmp_path / "secrets" / "..data").symlink_to(version.name)
    monkeypatch.setenv("TIMBRE_SECRETS_DIR", str(tmp_path / "secrets"))
    return tmp_path / "secrets"


def mount(secrets: Path, name: str, value: str) -> None:
    (secrets / "..data" / name).write_text(value)
    (secrets / name).symlink_to(f"..data/{name}")


def test_secrets_are_read_from_files(secrets: Path) -> None:
    mount(secrets, "TIMBRE_S3_ACCESS_KEY", "access")
    mount(secrets, "timbre_s3_secret_key", "secret\n")
    mount(secrets, "TIMBRE_DATABASE_URL", "postgresql+psycopg://timbre:pw@db/timbre")
    mount(secrets, "TIMBRE_JWT_SECRET", "x" * 40)
    mount(secrets, "TIMBRE_AUTH", "jwt")
    mount(secrets, "OTHER", "not ours")
    for settings in (RuntimeSettings(), JobSettings(), GatewaySettings()):
        assert settings.s3_credentials is not None
        assert settings.s3_credentials.access_key == "access"
        assert settings.s3_credentials.secret_key.get_secret_value() == "secret"
        assert settings.database_url == "postgresql+psycopg://timbre:pw@db/timbre"
        assert settings.jwt_secret is not None
        assert settings.auth == "jwt"
        assert "secret\n" not in repr(settings)


def test_the_environment_goes_before_files(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(secrets, "TIMBRE_LOG_LEVEL", "ERROR")
    assert RuntimeSettings().log_level == "ERROR"
    monkeypatch.setenv("TIMBRE_LOG_LEVEL", "DEBUG")
    assert RuntimeSettings().log_level == "DEBUG"
    assert RuntimeSettings(log_level="INFO").log_level == "INFO"


def test_a_folder_of_secrets_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMBRE_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ValidationError) as caught:
        RuntimeSettings()
    assert [describe(flaw) for flaw in caught.value.errors()] == [
        "TIMBRE_SECRETS_DIR: there is no such folder: mount the secret there, or leave the setting out"
    ]


def test_a_database_that_is_none_is_told_at_the_start() -> None:
    for url in ("timbre.db", "mysql://db/timbre", "postgresql://db/timbre"):
        with pytest.raises(ValidationError, match="must begin with sqlite:/// or postgresql"):
            RuntimeSettings(database_url=url)
