"""Over a local store, and over one that is not (fsspec's in memory): the marks mean the same."""

from uuid import uuid4

import pytest

from services.training.work_folder import WorkFolder
from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import StageProgress
from shared.errors import NotFoundError
from shared.settings import ArtifactSettings

DONE = StageProgress(stage="embed", done=3, total=3, metrics={"loss": 0.5})


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path) -> ArtifactStore:
    url = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid4().hex}"
    return ArtifactStore(ArtifactSettings(url=url, cache=tmp_path / "cache"))


@pytest.fixture
def work(store) -> WorkFolder:
    return WorkFolder(store, "shop", uuid4())


def test_a_stage_is_complete_only_with_its_mark(work):
    folder = work.begin("embed")
    (folder / "table").write_text("half")
    assert work.completed("embed") is None
    work.complete("embed", DONE)
    assert work.completed("embed") == DONE
    assert (work.open("embed") / "table").read_text() == "half"


def test_a_stage_that_begins_again_finds_an_empty_folder(work):
    (work.begin("embed") / "left-over").write_text("old")
    assert list(work.begin("embed").iterdir()) == []


def test_a_stage_that_never_ran_cannot_be_opened(work):
    with pytest.raises(NotFoundError):
        work.open("quantize")


def test_another_process_on_another_machine_finds_the_files(store, tmp_path, monkeypatch):
    run_id = uuid4()
    first = WorkFolder(store, "shop", run_id)
    (first.begin("embed") / "table").write_text("whole")
    first.complete("embed", DONE)
    elsewhere = ArtifactStore.__new__(ArtifactStore)
    elsewhere.__dict__.update(store.__dict__, _cache=tmp_path / "another-cache")
    second = WorkFolder(elsewhere, "shop", run_id)
    assert second.completed("embed") == DONE
    assert (second.open("embed") / "table").read_text() == "whole"


def test_checkpoints_outlive_the_attempt_but_not_their_removal(work):
    (work.checkpoints() / "checkpoint.pt").write_text("weights")
    work.begin("finetune")
    assert (work.checkpoints() / "checkpoint.pt").exists()
    work.remove_checkpoints()
    assert list(work.checkpoints().iterdir()) == []
