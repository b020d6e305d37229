"""Fourth stage: another SASRec, whose scores are added to the LLM's (`sequence_part.py`).

Its items start from what those of E_c's SASRec did not: it is to know them by something else.
"""

from pathlib import Path
from typing import Final

from services.training.context import StageContext
from services.training.sasrec_making import make_sasrec
from shared.computing import compute
from shared.modeling.progress import Progress

NAME: Final = "sequence"


async def run(context: StageContext, folder: Path) -> None:
    """Writes nothing where SASRec takes no part."""
    await compute(_make, context, folder)


def _make(context: StageContext, folder: Path) -> None:
    if not context.configs.ranker.sequence_weights:
        context.report(Progress(NAME, 1, 1))
        return
    make_sasrec(context, NAME, context.configs.sequence).model.save(folder)
