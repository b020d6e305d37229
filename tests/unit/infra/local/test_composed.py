import re

import pytest

from infra.local.compose_file import seconds
from infra.local.composed import Composed
from infra.local.supervisor import Supervisor


@pytest.fixture(scope="module")
def composed(tmp_path_factory) -> Composed:
    return Composed(tmp_path_factory.mktemp("state"))


@pytest.fixture
def commands(composed) -> dict[str, str]:
    """The command lines of all but the embedded servers."""
    return {
        service.name: " ".join(service.command())
        for service in composed.services()
        if service.name not in ("postgres", "valkey")
    }


def test_nothing_of_the_containers_is_left_in_a_command(commands):
    for name, command in commands.items():
        assert not re.search(
            r"/run/secrets|[= ]/cache|[= ]/data|[/@](s3|valkey|\w+ing):", command
        ), name
        assert not re.search(r"0\.0\.0\.0|127\.0\.0\.1", command), name


def test_every_service_has_an_address_of_its_own_and_is_looked_for_there(composed, commands):
    assert len(set(composed.addresses.values())) == len(composed.addresses)
    for name in ("embedding", "tokenization", "ranking"):
        setting = f"MMESID_SERVICES__{name.upper()}={composed.url(name)}"
        assert setting in commands["gateway"]
        assert f"MMESID_SERVER__HOST={composed.addresses[name]}" in commands[name]


def test_a_service_gets_no_setting_but_those_of_the_file(composed, monkeypatch):
    monkeypatch.setenv("MMESID_LOG_FORMAT", "console")
    (gateway,) = (one for one in composed.services() if one.name == "gateway")
    assert "MMESID_LOG_FORMAT" not in " ".join(gateway.command())


def test_only_tokenization_has_an_index_instead_of_qdrant(commands):
    with_index = {name for name, line in commands.items() if "MMESID_VECTORS__MODE" in line}
    assert with_index == {"tokenization"}
    assert "MMESID_VECTORS__MODE=embedded" in commands["tokenization"]


def test_no_service_starts_before_the_schema_is_there(composed):
    names = list(Supervisor(composed.services(), on_line=print).states())
    for name in ("embedding", "tokenization", "ranking", "gateway", "worker-cpu", "relay"):
        assert names.index("postgres") < names.index("migrations") < names.index(name)


@pytest.mark.parametrize(
    ("text", "expected"), [("30s", 30), ("10m0s", 600), ("1h0m5s", 3605), ("0s", 0)]
)
def test_durations_are_read_as_compose_prints_them(text, expected):
    assert seconds(text) == expected
