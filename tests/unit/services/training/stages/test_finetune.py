"""The stage itself; what its processes do is tested with `finetune_together`."""

from types import SimpleNamespace
from uuid import uuid4

import pytest

from services.training.configs import configs_of
from services.training.context import StageContext
from services.training.finetune_job import FinetuneJob
from services.training.stages import collaborative, embed, finetune, quantize, sequence, snapshot
from services.training.warm_start import Start, save_start
from services.training.work_folder import WorkFolder
from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import StageProgress, TrainingCreate
from shared.modeling.ranker import Ranker
from shared.settings import ArtifactSettings, TrainingSettings

COLD = Start(
    parent=None,
    stages=dict.fromkeys(("collaborative", "sequence", "quantize", "finetune"), "cold"),
    reason="a test",
)


class StoppedError(Exception):
    pass


@pytest.fixture
def context(finetune_job: FinetuneJob, tmp_path):
    """Of a run whose stages before this one are done, with a number of processes."""
    store = ArtifactStore(ArtifactSettings(url=str(tmp_path / "store"), cache=tmp_path / "cache"))
    work = WorkFolder(store, "shop", uuid4())
    for name, files in (
        (snapshot.NAME, finetune_job.snapshot),
        (embed.NAME, finetune_job.embed),
        (collaborative.NAME, finetune_job.collaborative),
        (sequence.NAME, finetune_job.sequence),
        (quantize.NAME, finetune_job.quantize),
    ):
        folder = work.begin(name)
        for file in files.iterdir():
            file.rename(folder / file.name)
        save_start(COLD, folder)
        work.complete(name, StageProgress(stage=name, done=1, total=1))

    def stop():
        raise StoppedError

    def make(processes):
        settings = TrainingSettings(device="cpu", threads=1, processes=processes)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "layers": 1, "heads": 1}
        request = TrainingCreate(ranker={"epochs": 1, "sequence_weights": [], "tiny": sizes})
        seen = []
        return StageContext(
            catalog_id="shop",
            run_id=uuid4(),
            version="b1",
            request=request,
            configs=configs_of(request, settings),
            resources=SimpleNamespace(settings=SimpleNamespace(training=settings), store=store),
            lease=SimpleNamespace(check=stop),
            work=work,
            report=seen.append,
        ), seen

    return make


async def test_one_process_is_the_workers_own(context):
    made, seen = context(processes=1)
    folder = made.work.begin(finetune.NAME)
    await finetune.run(made, folder)
    assert {progress.stage for progress in seen} == {finetune.NAME}
    assert Ranker.load(folder).item_encoder.number_of_items == 12


async def test_several_processes_are_watched_for_what_stops_the_run(context):
    """A run that must stop does not wait for their first step."""
    made, seen = context(processes=2)
    with pytest.raises(StoppedError):
        await finetune.run(made, made.work.begin(finetune.NAME))
    assert seen == []
