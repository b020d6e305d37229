"""docker-compose.yml says nothing that the code does not know, and leaves out nothing it needs."""

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import BaseModel

from infra.local.compose_file import FILE, Compose, ComposeService, docker_compose, resolved
from infra.local.state import CHECKOUT
from services.training.celery_app import QUEUES
from shared.errors import InvalidInputError
from shared.http import health_routes
from shared.settings import DELIMITER, PREFIX, Settings, known_variables

PROFILES = ("cpu", "gpu")
# Only the other way of keeping vectors needs them.
NOT_NEEDED = {
    "MMESID_VECTORS__FOLDER",
    "MMESID_RANKING__CANDIDATES__URL",
}

composed = cache(resolved)


@pytest.fixture(params=PROFILES)
def compose(request) -> Compose:
    return composed(request.param)


def ours(compose: Compose) -> dict[str, ComposeService]:
    return {name: service for name, service in compose.services.items() if service.is_ours}


def names_of(compose: Compose) -> set[str]:
    """What a service can be reached by."""
    aliases = (
        alias
        for service in compose.raw["services"].values()
        for network in service["networks"].values()
        for alias in (network or {}).get("aliases", ())
    )
    return {*compose.services, *aliases}


def queues_of(service: ComposeService) -> set[str]:
    command = service.command_line
    return (
        set(command[command.index("--queues") + 1].split(",")) if "--queues" in command else set()
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_accepts_the_file(profile):
    docker_compose(profile, "config", "-q")


def test_compose_refuses_the_file_where_no_profile_is_chosen():
    with pytest.raises(InvalidInputError, match="set COMPOSE_PROFILES to cpu or gpu"):
        docker_compose("", "config", "-q")


def test_every_setting_is_one_of_the_code(compose):
    for service in ours(compose).values():
        for name in service.environment:
            assert not name.startswith(PREFIX) or name.removesuffix("_FILE") in known_variables()


def local_defaults(section: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    """The settings whose defaults are addresses and folders of one machine."""
    for key, field in section.model_fields.items():
        name = f"{prefix}{key}".upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from local_defaults(field.annotation, f"{name}{DELIMITER}")
        elif re.search(r"127\.0\.0\.1|^\.mmesid", str(field.default)):
            yield name


def test_no_setting_is_left_at_an_address_or_a_folder_of_one_machine(compose):
    given = {
        name.removesuffix("_FILE")
        for service in ours(compose).values()
        for name in service.environment
    }
    assert set(local_defaults(Settings)) - given == NOT_NEEDED


def test_the_settings_of_a_service_are_accepted_by_it(compose, monkeypatch, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("redis://x")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for service in ours(compose).values():
        with monkeypatch.context() as patch:
            for name, value in service.environment.items():
                patch.setenv(name, str(secret) if name.endswith("_FILE") else value)
            Settings()


def test_every_module_that_is_started_is_there(compose):
    for service in ours(compose).values():
        match service.command_line:
            case ["python", "-m", module, *_]:
                spec = importlib.util.find_spec(module)
                assert spec is not None
                if spec.submodule_search_locations:
                    assert importlib.util.find_spec(f"{module}.__main__") is not None
            case ["sh", "-ec", script, *_]:
                assert re.findall(r"mmesid (\w+)", script) == ["import", "train"]
            case command:
                pytest.fail(f"unknown command {command}")


def test_every_service_of_the_code_runs(compose):
    commands = {" ".join(service.command_line) for service in ours(compose).values()}
    for main in (CHECKOUT / "services").glob("*/__main__.py"):
        assert any(f"-m services.{main.parent.name}" in command for command in commands)
    assert any("relay" in command for command in commands)


@pytest.mark.parametrize(("profile", "queues"), [("cpu", {"cpu", "sync"}), ("gpu", set(QUEUES))])
def test_every_queue_that_is_sent_to_has_a_worker(profile, queues):
    services = ours(composed(profile))
    assert set().union(*map(queues_of, services.values())) == queues
    assert {service.environment["MMESID_TRAINING__QUEUE"] for service in services.values()} == {
        profile
    }


def test_services_are_looked_for_where_they_listen(compose):
    names = names_of(compose)
    for service in ours(compose).values():
        for name, value in service.environment.items():
            if "://" in value and not value.startswith("s3:"):
                url = urlsplit(value)
                assert url.hostname in names, f"{name}: {value}"
                if name.startswith("MMESID_SERVICES__"):
                    assert str(url.port) == service.environment["MMESID_SERVER__PORT"]


def test_health_is_asked_for_at_a_path_and_a_port_that_are_served(compose):
    async def ready() -> dict:
        return {}

    paths = {route.path for route in health_routes(ready).routes}
    for name, service in ours(compose).items():
        is_worker = bool(queues_of(service))
        if service.healthcheck.disable:
            assert is_worker or name in ("migrations", "load")
            continue
        (address,) = re.findall(r"http://[^']+", service.healthcheck.test[-1])
        url = urlsplit(address)
        assert url.path in paths
        if "relay" in service.command_line:
            assert str(url.port) == service.command_line[-1]
        else:
            assert str(url.port) == service.environment["MMESID_SERVER__PORT"]


def test_migrations_come_first_and_whoever_is_waited_for_can_say_that_it_is_ready(compose):
    for name, service in ours(compose).items():
        if name not in ("migrations", "load"):
            migrated = service.depends_on["migrations"].condition
            assert migrated == "service_completed_successfully"
        for need, dependency in service.depends_on.items():
            if dependency.condition == "service_healthy":
                assert compose.services[need].healthcheck.test


def test_a_service_has_the_secrets_that_it_reads_and_no_others(compose):
    for name, service in compose.services.items():
        mounted = {secret.target for secret in service.secrets}
        text = " ".join([*service.environment.values(), *service.command_line])
        read = set(re.findall(r"/run/secrets/[\w.]+", text))
        if name == "qdrant":  # one of the files that it reads of itself
            read = {"/qdrant/config/local.yaml"}
        assert read == mounted, name


def test_every_secret_is_used_and_made_by_the_script(tmp_path):
    script = CHECKOUT / "infra" / "docker" / "secrets.sh"
    subprocess.run([str(script), str(tmp_path / "secrets")], check=True)
    made = {path.name for path in (tmp_path / "secrets").iterdir()}
    secrets = composed("cpu").secrets
    mounted = {
        secret.source for service in composed("cpu").services.values() for secret in service.secrets
    }
    assert mounted == set(secrets) <= made
    assert {Path(secret["file"]).parent for secret in secrets.values()} == {FILE.parent / "secrets"}


def test_secrets_that_exist_stay_as_they_are_and_are_closed_to_others(tmp_path):
    folder = tmp_path / "secrets"
    script = str(CHECKOUT / "infra" / "docker" / "secrets.sh")

    def contents() -> dict[str, str]:
        subprocess.run([script, str(folder)], check=True)
        return {path.name: path.read_text() for path in folder.iterdir()}

    assert contents() == contents()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_every_container_is_confined(compose):
    for name, service in compose.raw["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges"], name
        assert "/tmp" in service["tmpfs"], name
    for service in ours(compose).values():
        assert service.user == "10001:10001"


def test_every_folder_that_a_service_writes_to_is_a_volume(compose):
    for service in ours(compose).values():
        volumes = [volume.target for volume in service.volumes if not volume.read_only]
        for name, value in service.environment.items():
            if value.startswith("/") and not name.endswith("_FILE"):
                assert any(value.startswith(f"{volume}/") for volume in volumes), f"{name}={value}"


def test_files_that_are_mounted_are_there(compose):
    for service in compose.services.values():
        for mount in service.volumes:
            if mount.source.startswith("/"):
                assert Path(mount.source).exists()


def test_images_of_others_are_pinned(compose):
    for service in compose.services.values():
        if not service.is_ours:
            assert re.search(r":v?\d+\.\d+", service.image), service.image
