"""Over a local store, and over one that is not (fsspec's in memory): the marks mean the same."""

from uuid import UUID, uuid4

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


STAGES = ("snapshot", "embed", "quantize")


@pytest.fixture
def former(store) -> tuple[UUID, WorkFolder]:
    """A run that completed two stages, and came as far as a checkpoint in the third."""
    run_id = uuid4()
    folder = WorkFolder(store, "shop", run_id)
    for stage in STAGES[:2]:
        table = folder.begin(stage) / "parts" / "table"
        table.parent.mkdir()
        table.write_text(f"of {stage}")
        folder.complete(stage, DONE.model_copy(update={"stage": stage}))
    (folder.begin("quantize") / "table").write_text("half")
    (folder.checkpoints() / "checkpoint.pt").write_text("weights")
    (folder.checkpoints() / "checkpoint.tmp").write_text("half of the next")
    return run_id, folder


def test_a_retry_takes_over_the_completed_stages_and_the_checkpoints(work, former):
    run_id, folder = former
    assert work.adopt(run_id, STAGES) == ["snapshot", "embed"]
    assert work.completed("embed").metrics == {"loss": 0.5}
    assert (work.open("embed") / "parts" / "table").read_text() == "of embed"
    assert work.completed("quantize") is None
    assert [path.name for path in work.checkpoints().iterdir()] == ["checkpoint.pt"]
    assert folder.completed("embed") is not None


def test_a_stage_whose_taking_over_was_interrupted_is_taken_over_again(work, former):
    run_id, _ = former
    work.adopt(run_id, STAGES[:1])
    (work.begin("embed") / "left-over").write_text("half a copy")
    assert work.adopt(run_id, STAGES) == ["embed"]
    assert not (work.open("embed") / "left-over").exists()


def test_what_the_retry_did_itself_is_kept(work, former):
    run_id, _ = former
    work.adopt(run_id, STAGES)
    (work.begin("quantize") / "table").write_text("whole")
    work.complete("quantize", DONE)
    (work.checkpoints() / "checkpoint.pt").write_text("further")
    assert work.adopt(run_id, STAGES) == []
    assert (work.open("quantize") / "table").read_text() == "whole"
    assert (work.checkpoints() / "checkpoint.pt").read_text() == "further"


def test_a_retry_of_a_run_whose_files_are_gone_starts_from_the_beginning(work, store):
    gone = uuid4()
    assert work.adopt(gone, STAGES) == []
    assert store.list_folder("shop/runs") == []
