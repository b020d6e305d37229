"""Fifth stage: the quantizer gives every item its semantic IDs (Sec. 4.2)."""

import shutil
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from torch import Tensor

from services.training.context import StageContext
from services.training.stages import collaborative, embed
from services.training.warm_start import load_start
from shared.computing import compute
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality
from shared.modeling.progress import Progress
from shared.modeling.quantizer_kinds import load_quantizer, train_quantizer

NAME: Final = "quantize"
CODES_FILE = "codes.safetensors"


async def run(context: StageContext, folder: Path) -> None:
    await compute(_make, context, folder)


def _make(context: StageContext, folder: Path) -> None:
    tables = collaborative.load_tables(context.work)
    start = load_start(context.work.open(embed.NAME))
    parent = start.parent_bundle(context.resources.store, context.catalog_id)
    if parent is not None and start.stages[NAME] == "kept":
        shutil.copytree(parent.tokenizer, folder, dirs_exist_ok=True)
        context.report(Progress(NAME, 1, 1))
    else:
        _train(context, tables, folder)
    # Codes are those of the model as it is served: read back, on the CPU.
    codes = load_quantizer(folder).codes(tables.tensors())
    save_file({j.value: rows for j, rows in codes.items()}, folder / CODES_FILE)


def _train(context: StageContext, tables: ItemTables, folder: Path) -> None:
    configs = context.configs
    model = train_quantizer(
        tables.tensors(), configs.quantizer, context.report, device=configs.device
    )
    model.to("cpu").save(folder)


def load_codes(folder: Path) -> dict[Modality, Tensor]:
    """[I, L] int64 a modality."""
    return {Modality(name): rows for name, rows in load_file(folder / CODES_FILE).items()}
