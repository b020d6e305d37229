"""Fourth stage: another SASRec, whose scores are added to the LLM's (`sequence_part.py`).

Its items start from what those of E_c's SASRec did not: it is to know them by something else.
"""

from pathlib import Path

from services.training.context import StageContext
from services.training.stages import embed, snapshot
from shared.computing import compute
from shared.modeling.item_tables import load_item_tables
from shared.modeling.progress import Progress
from shared.modeling.sasrec import train_sasrec

NAME = "sequence"


async def run(context: StageContext, folder: Path) -> None:
    """Writes nothing where SASRec takes no part."""
    await compute(_train, context, folder)


def _train(context: StageContext, folder: Path) -> None:
    if not context.configs.ranker.sequence_weights:
        context.report(Progress(NAME, 1, 1))
        return
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    content = load_item_tables(context.work.open(embed.NAME))
    model = train_sasrec(
        data.split(),
        len(data.items),
        context.configs.sequence,
        context.report,
        content=content.tensors(),
        device=context.configs.device,
        stage=NAME,
    )
    model.to("cpu").save(folder)
