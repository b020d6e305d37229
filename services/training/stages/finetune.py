"""Fifth stage: the LLM with LoRA, the item encoder and the fusion head (Sec. 4.3)."""

from pathlib import Path

import torch

from services.training.context import StageContext
from services.training.stages import embed, quantize, snapshot
from shared.computing import compute
from shared.modeling.item_tables import load_item_tables
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker_training import train_ranker

NAME = "finetune"


async def run(context: StageContext, folder: Path) -> None:
    await compute(_train, context, folder)


def _train(context: StageContext, folder: Path) -> None:
    work, configs = context.work, context.configs
    data = snapshot.load_snapshot(work.open(snapshot.NAME))
    tables = load_item_tables(work.open(embed.NAME))
    quantizer = load_quantizer(work.open(quantize.NAME))
    ranker = train_ranker(
        data.split(),
        len(data.items),
        {j: torch.from_numpy(table) for j, table in tables.embeddings.items()},
        quantize.load_codes(work.open(quantize.NAME)),
        {j: quantizer.code_embeddings(j) for j in quantizer.modalities},
        configs.base,
        configs.ranker,
        context.report,
        checkpoint_folder=work.checkpoints(),
    )
    ranker.to("cpu").save(folder)
