import pytest

from infra.local.stack import Stack, Threads, choose_ports
from infra.local.state import StateFolder
from infra.local.supervisor import Supervisor
from shared.settings import known_variables


@pytest.fixture
def stack(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MMESID_LOG_FORMAT", "MMESID_TRAINING__THREADS"):
        monkeypatch.delenv(name, raising=False)
    stack = Stack(StateFolder(tmp_path), choose_ports({}), Threads(serving=2, training=4))
    for server in (stack.postgres, stack.valkey):
        server.folder.mkdir()
        (server.folder / "password").write_text("secret")
    return stack


def environment_of(stack, name):
    return next(one.environment for one in stack.services() if one.name == name)


def test_every_server_has_a_port_of_its_own():
    ports = choose_ports({"gateway": 5432})
    assert len(set(ports.values())) == len(ports)


def test_every_setting_that_is_passed_on_exists(stack):
    for service in stack.services():
        ours = {name for name in service.environment if name.startswith("MMESID_")}
        assert ours <= known_variables()


def test_no_service_starts_before_the_schema_is_there(stack):
    names = list(Supervisor(stack.services(), on_line=print).states())
    for name in ("embedding", "tokenization", "ranking", "gateway", "worker", "relay"):
        assert names.index("postgres") < names.index("migrations") < names.index(name)


def test_every_http_service_listens_where_the_others_look_for_it(stack):
    shared = environment_of(stack, "gateway")
    for name in ("embedding", "tokenization", "ranking"):
        port = environment_of(stack, name)["MMESID_SERVER__PORT"]
        assert shared[f"MMESID_SERVICES__{name.upper()}"] == f"http://127.0.0.1:{port}"


def test_training_may_use_more_threads_than_serving_but_comes_after_it(stack):
    assert environment_of(stack, "ranking")["OMP_NUM_THREADS"] == "2"
    assert environment_of(stack, "worker")["OMP_NUM_THREADS"] == "4"
    worker = next(one for one in stack.services() if one.name == "worker")
    assert worker.command()[6] == "10"  # the tether's niceness


@pytest.mark.parametrize(("cores", "serving", "training"), [(1, 1, 1), (2, 1, 1), (16, 8, 15)])
def test_serving_gets_half_of_the_cores_and_training_leaves_one(cores, serving, training):
    assert Threads.of_cores(cores) == Threads(serving=serving, training=training)


def test_what_the_user_set_wins_over_the_choices_made_here(stack, monkeypatch):
    monkeypatch.setenv("MMESID_TRAINING__THREADS", "3")
    assert "MMESID_TRAINING__THREADS" not in environment_of(stack, "worker")


@pytest.mark.parametrize(("engine", "setting"), [("vllm", "vllm"), (None, None)])
def test_the_engine_is_the_ranking_services_setting_where_one_is_named(stack, engine, setting):
    stack = Stack(stack.state, stack.ports, Threads(serving=2, training=4), engine=engine)
    assert environment_of(stack, "ranking").get("MMESID_RANKING__ENGINE") == setting
    assert "MMESID_RANKING__ENGINE" not in environment_of(stack, "worker")
