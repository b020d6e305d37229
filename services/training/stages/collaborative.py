"""Second stage: SASRec on the interactions gives E_c (Sec. 4.2.1)."""

from pathlib import Path

from services.training.context import StageContext
from services.training.stages import snapshot
from shared.computing import compute
from shared.modeling.sasrec import train_sasrec

NAME = "collaborative"


async def run(context: StageContext, folder: Path) -> None:
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    model = await compute(
        train_sasrec,
        data.split(),
        len(data.items),
        context.configs.collaborative,
        context.report,
        device=context.configs.device,
    )
    await compute(model.to("cpu").save, folder)
