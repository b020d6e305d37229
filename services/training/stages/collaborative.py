"""Third stage: SASRec on the interactions gives E_c (Sec. 4.2.1); of cold items it is imputed."""

from pathlib import Path
from typing import Final

from services.training.context import StageContext
from services.training.sasrec_making import make_sasrec
from services.training.stages import embed, snapshot
from services.training.work_folder import WorkFolder
from shared.computing import compute
from shared.errors import InvalidInputError
from shared.modeling.item_tables import (
    ItemTables,
    impute_collaborative,
    load_item_tables,
    save_item_tables,
)
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress

NAME: Final = "collaborative"


async def run(context: StageContext, folder: Path) -> None:
    """Raises InvalidInputError where no interaction is left for training."""
    await compute(_make, context, folder)


def load_tables(work: WorkFolder) -> ItemTables:
    """E_c, E_t and E_v of the run. Raises NotFoundError where their stages are not complete."""
    return load_item_tables(work.open(embed.NAME), work.open(NAME))


def _make(context: StageContext, folder: Path) -> None:
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    if not data.frequency().any():
        raise InvalidInputError.of("interactions", "none is left for training")
    config = context.configs.collaborative
    made = make_sasrec(context, NAME, config)
    made.model.save(folder)
    imputed = ~made.learned
    collaborative = impute_collaborative(
        made.model.collaborative_embeddings().numpy(),
        imputed,
        load_item_tables(context.work.open(embed.NAME)),
    )
    save_item_tables(
        ItemTables({Modality.COLLABORATIVE: collaborative}, {Modality.COLLABORATIVE: imputed}),
        folder,
    )
    figures = {f"imputed_{Modality.COLLABORATIVE.value}": float(imputed.sum())}
    context.report(Progress(NAME, config.epochs, config.epochs, figures))
