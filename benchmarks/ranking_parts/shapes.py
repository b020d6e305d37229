"""The backbones that are compared, by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from shared.errors import InvalidInputError
from shared.modeling.base_model import load_base, torch_dtype
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama


@dataclass(frozen=True)
class Shape:
    """A base model and the length of the histories that it is asked with.

    config: that of a checkpoint which is written with random weights before it is used.
    """

    base: BaseSource
    history: int = 20
    config: LlamaConfig | None = None


def _llama3_8b() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )


SHAPES: Mapping[str, Shape] = {
    "tiny": Shape(BaseSource(BaseKind.TINY)),
    "small": Shape(
        BaseSource(
            BaseKind.TINY,
            tiny=TinyLlama(hidden_size=256, intermediate_size=704, layers=4, heads=4),
        )
    ),
    "smollm2": Shape(BaseSource(BaseKind.SMOLLM2)),
    "llama3-8b": Shape(
        BaseSource(BaseKind.CHECKPOINT, name="llama3-8b", dtype="bfloat16"),
        history=50,
        config=_llama3_8b(),
    ),
}


def shape_of(name: str) -> Shape:
    """Raises InvalidInputError for a name that is not one of `SHAPES`."""
    if name not in SHAPES:
        raise InvalidInputError.of("shape", f"{name!r} is none of {', '.join(SHAPES)}")
    return SHAPES[name]


def with_checkpoint(shape: Shape, folder: Path) -> Shape:
    """The shape with its checkpoint written into `folder`, if it needs one."""
    if shape.config is None:
        return shape
    _write_random_checkpoint(shape.config, torch_dtype(shape.base.dtype), folder)
    return replace(shape, base=replace(shape.base, name=str(folder)), config=None)


def _write_random_checkpoint(config: LlamaConfig, dtype: torch.dtype, folder: Path) -> None:
    """Random weights and a word tokenizer: speed depends on neither."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    load_base(BaseSource(BaseKind.TINY)).tokenizer.save_pretrained(folder)
