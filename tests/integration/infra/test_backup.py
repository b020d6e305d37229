"""The backup of `k8s/`, and its way back as docs/production.md has it."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from infra.local.postgres import binaries
from shared.database.api_keys import ApiKeyRepository, Scope
from shared.database.session import Database

pytestmark = pytest.mark.integration
SCRIPT = Path(__file__).parents[3] / "k8s" / "base" / "backup.sh"
BUNDLE = "default/bundles/20260101T000000-ab12"


@pytest.fixture
def artifacts(tmp_path):
    """A store with a bundle, one that is being written, an image and the files of a run."""
    files = {
        f"{BUNDLE}/manifest.json": "{}",
        f"{BUNDLE}/ranker/adapter/weights": "weights",
        "default/bundles/20260102T000000-cd34/ranker/adapter/weights": "half",
        "default/images/ab/ab01": "picture",
        "default/runs/42/snapshot/items": "of a run",
    }
    for name, text in files.items():
        path = tmp_path / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "artifacts"


@pytest.fixture
def back_up(tmp_path, artifacts, database_url):
    def run(step):
        environment = {
            "PATH": f"{binaries()}:{os.environ['PATH']}",
            "POSTGRES_URL": database_url.replace("+psycopg", ""),
            "ARTIFACTS": str(artifacts),
            "BACKUPS": str(tmp_path / "backups"),
            "KEEP_DAYS": "14",
        }
        subprocess.run(["sh", str(SCRIPT), step], env=environment, check=True)
        return tmp_path / "backups"

    return run


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_complete_bundles_and_images_are_copied_and_nothing_else(back_up, artifacts):
    copied = files_of(back_up("artifacts") / "artifacts")
    assert copied == {
        f"{BUNDLE}/manifest.json": "{}",
        f"{BUNDLE}/ranker/adapter/weights": "weights",
        "default/images/ab/ab01": "picture",
    }


def test_what_was_copied_stays_when_its_original_goes(back_up, artifacts):
    before = files_of(back_up("artifacts"))
    shutil.rmtree(artifacts / BUNDLE)
    shutil.rmtree(artifacts / "default" / "images")
    assert files_of(back_up("artifacts")) == before


def test_a_copy_that_was_cut_off_is_made_again(back_up, artifacts, tmp_path):
    cut_off = tmp_path / "backups" / "artifacts" / f"{BUNDLE}.part"
    cut_off.mkdir(parents=True)
    (cut_off / "of a former attempt").touch()
    copied = files_of(back_up("artifacts") / "artifacts")
    assert not [name for name in copied if "part" in name or "former" in name]
    assert f"{BUNDLE}/manifest.json" in copied


def test_an_empty_store_is_no_mistake(back_up, artifacts):
    shutil.rmtree(artifacts)
    artifacts.mkdir()
    assert files_of(back_up("artifacts")) == {}


async def test_a_dump_is_restored_into_an_empty_database(back_up, settings, postgres_server):
    database = Database(settings.database)
    async with database.transaction() as session:
        key = await ApiKeyRepository(session).create("default", name="n", scopes=[Scope.READ])
    await database.close()
    (dump,) = (back_up("database") / "postgres").iterdir()
    assert dump.suffix == ".dump"
    postgres_server.create_database("restored")
    try:
        url = postgres_server.conninfo("restored")
        command = ["pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", str(dump)]
        environment = {**os.environ, "PATH": f"{binaries()}:{os.environ['PATH']}"}
        subprocess.run(command, env=environment, check=True)
        database = Database(
            settings.database.model_copy(update={"url": postgres_server.url("restored")})
        )
        async with database.transaction() as session:
            assert await ApiKeyRepository(session).find(key) is not None
        await database.close()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    finally:
        postgres_server.drop_database("restored")
