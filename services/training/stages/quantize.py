"""Fifth stage: the quantizer gives every item its semantic IDs (Sec. 4.2)."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from services.training.context import StageContext
from services.training.stages import collaborative
from shared.computing import compute
from shared.modeling.modality import Modality
from shared.modeling.quantizer_kinds import load_quantizer, train_quantizer

NAME = "quantize"
CODES_FILE = "codes.safetensors"


async def run(context: StageContext, folder: Path) -> None:
    await compute(_train, context, folder)


def _train(context: StageContext, folder: Path) -> None:
    tables = collaborative.load_tables(context.work)
    embeddings = tables.tensors()
    configs = context.configs
    model = train_quantizer(embeddings, configs.quantizer, context.report, device=configs.device)
    model.to("cpu").save(folder)
    # Codes are those of the model as it is served: read back, on the CPU.
    codes = load_quantizer(folder).codes(embeddings)
    save_file({j.value: rows for j, rows in codes.items()}, folder / CODES_FILE)


def load_codes(folder: Path) -> dict[Modality, Tensor]:
    """[I, L] int64 a modality."""
    return {Modality(name): rows for name, rows in load_file(folder / CODES_FILE).items()}
