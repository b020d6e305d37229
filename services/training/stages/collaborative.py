"""Third stage: SASRec on the interactions gives E_c (Sec. 4.2.1); of cold items it is imputed."""

from pathlib import Path

from services.training.context import StageContext
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
from shared.modeling.sasrec import train_sasrec

NAME = "collaborative"


async def run(context: StageContext, folder: Path) -> None:
    """Raises InvalidInputError where no interaction is left for training."""
    await compute(_train, context, folder)


def load_tables(work: WorkFolder) -> ItemTables:
    """E_c, E_t and E_v of the run. Raises NotFoundError where their stages are not complete."""
    return load_item_tables(work.open(embed.NAME), work.open(NAME))


def _train(context: StageContext, folder: Path) -> None:
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    cold = data.frequency() == 0
    if cold.all():
        raise InvalidInputError.of("interactions", "none is left for training")
    content = load_item_tables(context.work.open(embed.NAME))
    config = context.configs.collaborative
    model = train_sasrec(
        data.split(),
        len(data.items),
        config,
        context.report,
        content=content.tensors(),
        device=context.configs.device,
    )
    model.to("cpu").save(folder)
    collaborative = impute_collaborative(model.collaborative_embeddings().numpy(), cold, content)
    save_item_tables(
        ItemTables({Modality.COLLABORATIVE: collaborative}, {Modality.COLLABORATIVE: cold}), folder
    )
    imputed = {f"imputed_{Modality.COLLABORATIVE.value}": float(cold.sum())}
    context.report(Progress(NAME, config.epochs, config.epochs, imputed))
