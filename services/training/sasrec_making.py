"""How the two SASRec stages come to their model: trained, or taken from the live bundle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.training.context import StageContext
from services.training.stages import embed, snapshot
from services.training.stages.snapshot import Snapshot
from services.training.warm_start import load_start
from shared.artifacts.bundle import Bundle
from shared.contracts.admin import TrainedStage
from shared.modeling.inheritance import Inheritance, inherited_sasrec
from shared.modeling.item_tables import ItemTables, load_item_tables, own_content
from shared.modeling.progress import Progress
from shared.modeling.sasrec import SASRec, train_sasrec
from shared.modeling.sasrec_config import SASRecConfig


@dataclass(frozen=True)
class MadeSASRec:
    """learned: [I], the items whose rows came from interactions and not from other items' rows."""

    model: SASRec
    learned: NDArray[np.bool_]


def make_sasrec(context: StageContext, stage: TrainedStage, config: SASRecConfig) -> MadeSASRec:
    """As the run's start says of the stage. Raises what `train_sasrec` raises, and NotFoundError
    where the bundle that it starts from is gone."""
    data = snapshot.load_snapshot(context.work.open(snapshot.NAME))
    embedded = context.work.open(embed.NAME)
    content = load_item_tables(embedded)
    start = load_start(embedded)
    parent = start.parent_bundle(context.resources.store, context.catalog_id)
    warm = None
    if parent is not None and start.stages[stage] != "cold":
        inheritance = _inheritance(parent, data, content)
        folder = parent.folder / stage
        warm = inherited_sasrec(SASRec.load(folder), inheritance)
        if start.stages[stage] == "kept":
            context.report(Progress(stage, 1, 1))
            return MadeSASRec(warm, inheritance.kept.numpy())
    model = train_sasrec(
        data.split(),
        len(data.items),
        config,
        context.report,
        content=content.tensors(),
        device=context.configs.device,
        stage=stage,
        warm=warm,
    )
    return MadeSASRec(model.to("cpu"), data.frequency() > 0)


def _inheritance(parent: Bundle, data: Snapshot, content: ItemTables) -> Inheritance:
    """Rows of items that nobody had met say nothing: they are estimated as those of new ones."""
    catalogue = parent.catalogue
    met = catalogue.frequency > 0
    return Inheritance.between(catalogue.item_ids, data.item_ids, own_content(content), among=met)
