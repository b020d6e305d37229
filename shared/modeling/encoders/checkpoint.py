"""Checkpoints on disk or on the hub: where they are, and their tensors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import safe_open
from torch import Tensor

from shared.errors import UnavailableError
from shared.modeling.model_loading import MODEL_LOADING

CONFIGS = ("*.json", "*.txt", "*.model")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def checkpoint_folder(source: str) -> Path:
    """The folder of a checkpoint: `source` itself if it is one, else the hub's files of that id.

    Raises:
        UnavailableError: it is no folder, and the hub has it not or cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        folder = Path(snapshot_download(source, allow_patterns=[*CONFIGS, WEIGHTS[0]]))
        if not list(folder.glob(WEIGHTS[0])):
            snapshot_download(source, allow_patterns=[WEIGHTS[1]])
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UnavailableError(
            f"The checkpoint {source} is no folder here and could not be had from the hub: {error}"
        ) from error
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files with weights: safetensors, or PyTorch's own where there are none.

    Raises:
        UnavailableError: the folder has neither.
    """
    for pattern in WEIGHTS:
        files = sorted(folder.glob(pattern))
        if files:
            return files
    raise UnavailableError(f"{folder} holds no weights (neither {' nor '.join(WEIGHTS)}).")


def revision_files(folder: Path) -> list[Path]:
    """All that decides which vectors come out: weights, configuration, tokenizer."""
    configs = [path for pattern in CONFIGS for path in sorted(folder.glob(pattern))]
    return [*weight_files(folder), *configs]


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands.

    Raises:
        UnavailableError: there is none.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UnavailableError(f"{folder} holds no config.json.")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


def read_tensors(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The tensors whose names are wanted, from every file of the checkpoint."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names = filter(wanted, file.keys())
                tensors |= {name: file.get_tensor(name) for name in names}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            tensors |= {name: tensor for name, tensor in found.items() if wanted(name)}
    return tensors


def load_pretrained(kind: Any, folder: Path, **options: Any) -> Any:
    """transformers' `kind.from_pretrained`, which by itself fills what is missing with noise.

    Raises:
        UnavailableError: the folder cannot be read, or lacks weights of the model.
    """
    try:
        with MODEL_LOADING:
            model, report = kind.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"The model in {folder} cannot be loaded: {error}") from error
    if report["missing_keys"] or report["mismatched_keys"]:
        wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
        raise UnavailableError(
            f"The weights in {folder} do not fit: {', '.join(wrong[:5])} of {len(wrong)} are "
            "missing or of another shape."
        )
    return model


def load_preprocessor(kind: Any, folder: Path, **options: Any) -> Any:
    """A tokenizer or an image processor of transformers, from the folder of its model.

    Raises:
        UnavailableError: its files are missing or cannot be read.
    """
    try:
        return kind.from_pretrained(folder, **options)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{kind.__name__} cannot be read from {folder}: {error}") from error


def load_exactly(module: torch.nn.Module, tensors: dict[str, Tensor], origin: Path) -> None:
    """Fill the module; every parameter must come from the checkpoint.

    Raises:
        UnavailableError: a tensor is missing, left over, or of another shape.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UnavailableError(f"The weights in {origin} do not fit: {error}") from error
