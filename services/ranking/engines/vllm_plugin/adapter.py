"""LoRA merged into the base weights while they are loaded: W + alpha / r * B A.

A merged model needs no adapter at run time, which costs on every token, and the base checkpoint
stays as it is: nothing is written.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor

PEFT_PREFIX = "base_model.model."


class Adapter:
    """The matrices of a PEFT folder by the name of the weight they change."""

    def __init__(self, pairs: dict[str, tuple[Tensor, Tensor]], scale: float) -> None:
        """pairs: weight name -> A [r, in], B [out, r]. scale: alpha / r."""
        self._pairs = pairs
        self._scale = scale

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `adapter_config.json` and `adapter_model.safetensors`."""
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = load_file(folder / "adapter_model.safetensors")
        suffix = ".lora_A.weight"
        pairs = {
            f"{name.removeprefix(PEFT_PREFIX).removesuffix(suffix)}.weight": (
                tensor,
                tensors[name.replace("lora_A", "lora_B")],
            )
            for name, tensor in tensors.items()
            if name.endswith(suffix)
        }
        return cls(pairs, config["lora_alpha"] / config["r"])

    def merge(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights of a checkpoint, changed ones merged, in their own dtype.

        Raises ValueError when the adapter changes a weight that did not come.
        """
        missing = set(self._pairs)
        for name, weight in weights:
            if name in missing:
                missing.discard(name)
                a, b = (part.to(weight.device, torch.float32) for part in self._pairs[name])
                yield name, (weight.float() + self._scale * (b @ a)).to(weight.dtype)
            else:
                yield name, weight
        if missing:
            raise ValueError(f"the adapter changes weights that are not there: {sorted(missing)}")
