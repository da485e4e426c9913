"""The schema of the job database: revisions are known by their files, and Alembic is imported only when there is work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from services.runtime.database import MIGRATIONS, SchemaTooNew, known_revisions, open_database
from tests.ports import free_port


def test_files_are_named_by_their_revisions_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert known_revisions() == [script.revision for script in reversed(scripts)]


def test_an_up_to_date_database_opens_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'timbre.db'}"
    open_database(url).dispose()
    script = (
        "import sys; from services.runtime.database import open_database; "
        f"open_database({url!r}); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def age(url: str, revision: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    engine.dispose()


def schema(url: str) -> str | None:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    engine.dispose()
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database_url: str) -> None:
    open_database(database_url).dispose()
    age(database_url, "9999")
    with pytest.raises(SchemaTooNew, match="schema 9999, which this version of Timbre does not know"):
        open_database(database_url)
    assert schema(database_url) == "9999"


def test_the_command_migrates_and_refuses(database_url: str) -> None:
    newest = known_revisions()[-1]
    for _ in range(2):
        done = run("timbre.cli", "migrate", TIMBRE_DATABASE_URL=database_url)
        assert (done.returncode, done.stdout) == (0, f"The job database has schema {newest}.\n"), done.stderr
    age(database_url, "9999")
    refused = run("timbre.cli", "migrate", TIMBRE_DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("The database has schema 9999, which this version of Timbre does not know")
    assert "Traceback" not in refused.stderr
    assert schema(database_url) == "9999"


def test_of_several_at_once_one_migrates(database_url: str) -> None:
    command = [sys.executable, "-m", "timbre.cli", "migrate"]
    environment = {**os.environ, "TIMBRE_DATABASE_URL": database_url}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert schema(database_url) == known_revisions()[-1]


@pytest.mark.parametrize("service", ["dataset", "trainer"])
def test_a_service_refuses_a_newer_schema_in_a_sentence(tmp_path: Path, service: str) -> None:
    url = f"sqlite:///{tmp_path / 'timbre.db'}"
    open_database(url).dispose()
    age(url, "9999")
    places = {f"TIMBRE_{service.upper()}_LISTEN": "127.0.0.1:0", "TIMBRE_DATA_DIR": str(tmp_path)}
    refused = run(f"services.{service}", TIMBRE_DATABASE_URL=url, **places)
    assert refused.returncode == 1
    assert "The database has schema 9999" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr


def test_a_database_that_is_not_there_is_told_in_a_sentence() -> None:
    url = f"postgresql+psycopg://nobody:hidden-word@127.0.0.1:{free_port()}/timbre"
    refused = run("timbre.cli", "migrate", TIMBRE_DATABASE_URL=url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "The job database cannot be reached; try again in a moment.\n"
