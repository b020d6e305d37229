"""The ranker: item encoder -> LLM with LoRA -> fusion head (Sec. 4.3), and its files.

    history --prompt--> token ids --[LLM table | item encoder]--> LLM --last token--> o_LLM
    o_LLM --fusion head--> a score for every item of the catalogue
    history --SASRec--> h, whose scores are added where the ranker has a sequence part

`save` writes into one folder:

    ranker.json                 sizes, prompt, LoRA and base model: what the rest means
    adapter_config.json, adapter_model.safetensors      LoRA, in PEFT's format
    item_encoder.safetensors    W_j, b_j, code embeddings, f_MLP, E_j, semantic IDs
    fusion_head.safetensors     E_x, g, q
    sequence_part.safetensors   SASRec, only where it takes part
    base/                       the base model, only if its weights exist nowhere else
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from shared.errors import UnavailableError
from shared.modeling.base_model import BaseModel, dense_checkpoint, load_base, load_checkpoint
from shared.modeling.base_source import BaseKind, BaseSource
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder, ItemForm
from shared.modeling.modality import Modality
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker_config import LoraSpec
from shared.modeling.sequence_part import SequencePart
from shared.modeling.serving_decoder import ServingDecoder
from shared.modeling.shared_prefix import shared_prefix_states

LORA_TARGETS = ("gate_proj", "up_proj", "down_proj")
BASE_FOLDER = "base"
SEQUENCE_FILE = "sequence_part.safetensors"


class Ranker(nn.Module):
    """History -> o_LLM -> scores. `base` holds the LLM, with LoRA attached or merged."""

    def __init__(
        self,
        base: BaseModel,
        item_encoder: ItemEncoder,
        fusion_head: FusionHead,
        prompt: PromptTemplate,
        source: BaseSource,
        *,
        lora: LoraSpec | None = None,
        train_base: bool = False,
    ) -> None:
        """lora: attach a fresh adapter; None leaves the model as it is (merged or already adapted).

        train_base: the base's own weights are trained too (those of a tiny base are random).
        """
        super().__init__()
        self.language_model: Any = base.model
        self.tokenizer = base.tokenizer
        self.item_encoder = item_encoder
        self.fusion_head = fusion_head
        self.sequence_part: SequencePart | None = None
        """What SASRec adds to the scores of the LLM."""
        self.prompt = prompt
        self.source = source
        self.train_base = train_base
        self.autocast_dtype: torch.dtype | None = None
        """What the LLM's products are computed in, where that is not the dtype of its weights."""
        if lora is not None:
            self.language_model = get_peft_model(base.model, _peft_config(lora))
            if train_base:
                self.decoder.requires_grad_(True)

    @property
    def decoder(self) -> Any:
        """The Llama decoder, without language-model head."""
        model = self.language_model
        causal = model.get_base_model() if isinstance(model, PeftModel) else model
        return causal.model

    def base_parameters(self) -> list[nn.Parameter]:
        """The LLM's trainable parameters: LoRA's, and its own where they are trained."""
        return [p for p in self.language_model.parameters() if p.requires_grad]

    def new_parameters(self) -> list[nn.Parameter]:
        """The item encoder's and the fusion head's parameters."""
        return [*self.item_encoder.parameters(), *self.fusion_head.parameters()]

    def trainable_share(self) -> float:
        """Trainable parameters of the LLM as a share of the LLM's (0.19 % in the paper)."""
        total: int = sum(parameter.numel() for parameter in self.language_model.parameters())
        return sum(parameter.numel() for parameter in self.base_parameters()) / total

    def prefix_states(self, items: Tensor) -> Tensor:
        """o_LLM [B, n, D] after each of the items' prefixes. items: input embeddings [B, n, D]."""
        prefix, suffix = self._prompt_embeddings()
        with self._autocast():
            states = shared_prefix_states(self.decoder, prefix, items.to(prefix.dtype), suffix)
        return states.to(items.dtype)

    def hidden_states(
        self, histories: Sequence[NDArray[np.int64]], table: Tensor | None = None
    ) -> Tensor:
        """o_LLM [B, D] of histories of item rows, oldest first (only the last `max_history` count).

        table: `input_table()`, when the caller has it already.
        """
        recent = [torch.from_numpy(self.prompt.recent(history)) for history in histories]
        lengths = [len(rows) for rows in recent]
        rows, places = torch.unique(torch.cat(recent), return_inverse=True)
        rows = rows.to(self.device)
        embedded = self.item_encoder(rows) if table is None else table[rows]
        prefix, suffix = self._prompt_embeddings()
        dtype = embedded.dtype
        prompts = [
            torch.cat([prefix, embedded[own.to(self.device)].to(prefix.dtype), suffix])
            for own in places.split(lengths)
        ]
        tokens = nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        ends = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        mask = torch.arange(tokens.shape[1], device=self.device) < ends.unsqueeze(1)
        with self._autocast():
            states = self.decoder(
                inputs_embeds=tokens, attention_mask=mask.long(), use_cache=False
            ).last_hidden_state
        return cast(Tensor, states[torch.arange(len(prompts)), ends - 1].to(dtype))

    def serving_decoder(self, *, cache_bytes: int = 0) -> ServingDecoder:
        """For many batches of histories, while the LLM's weights do not change."""
        return ServingDecoder(self.decoder, self.prompt, cache_bytes=cache_bytes)

    def score(self, histories: Sequence[NDArray[np.int64]]) -> Tensor:
        """Scores [B, I] of the whole catalogue for histories of item rows."""
        states = self.hidden_states(histories)
        if self.sequence_part is None:
            return self.fusion_head.scores(states, self.item_encoder)
        return self.with_sequence(states, histories) @ self.fused_matrix().T

    def with_sequence(self, states: Tensor, histories: Sequence[NDArray[np.int64]]) -> Tensor:
        """o_LLM [B, D] -> [o_LLM, h] [B, D + D_s] where SASRec takes part, else o_LLM as it is."""
        if self.sequence_part is None:
            return states
        return torch.cat([states, self.sequence_part.states(histories).to(states)], dim=1)

    @torch.inference_mode()
    def scorer(self) -> Callable[[list[NDArray[np.int64]]], Tensor]:
        """`score` for many batches: the input table and E* are computed once, here and now."""
        table, fused, decoder = self.input_table(), self.fused_matrix(), self.serving_decoder()

        @torch.inference_mode()
        def score(histories: list[NDArray[np.int64]]) -> Tensor:
            return self.with_sequence(decoder.states(histories, table), histories) @ fused.T

        return score

    def input_table(self) -> Tensor:
        """Eq. 16 for the catalogue: the LLM's input embedding of every item [I, D]."""
        return self.item_encoder.table()

    def fused_matrix(self) -> Tensor:
        """E* [I, D]: o_LLM E*^T is Eq. 18. With a sequence part [E*, w S], for [o_LLM, h]."""
        fused = self.fusion_head.fused_matrix(self.item_encoder)
        if self.sequence_part is None:
            return fused
        return torch.cat([fused, self.sequence_part.scoring_rows()], dim=1)

    def encode_items(
        self, embeddings: Mapping[Modality, Tensor], codes: Mapping[Modality, Tensor]
    ) -> Tensor:
        """Input embeddings [n, D] of items outside the training catalogue."""
        return self.item_encoder.encode(embeddings, codes)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None
        )

    def _prompt_embeddings(self) -> tuple[Tensor, Tensor]:
        embed = self.decoder.embed_tokens
        prefix = torch.tensor(self.prompt.prefix, dtype=torch.int64, device=self.device)
        suffix = torch.tensor(self.prompt.suffix, dtype=torch.int64, device=self.device)
        return embed(prefix), embed(suffix)

    @property
    def device(self) -> torch.device:
        """The LLM's; the item side may lie elsewhere where `hidden_states` is given its table."""
        weight: Tensor = self.decoder.embed_tokens.weight
        return weight.device

    def save(self, folder: Path) -> None:
        """Write the files named above. Raises UnavailableError when LoRA was merged away."""
        if not isinstance(self.language_model, PeftModel):
            raise UnavailableError("ranker: a merged ranker has no adapter to save")
        folder.mkdir(parents=True, exist_ok=True)
        own_base = self.train_base or self.source.kind == BaseKind.TINY
        reference = BASE_FOLDER if own_base else self.source.name or self.source.kind.value
        self.language_model.peft_config["default"].base_model_name_or_path = reference
        self.language_model.save_pretrained(folder, save_embedding_layers=False)
        if own_base:
            save_base(self.language_model, self.tokenizer, folder / BASE_FOLDER)
        save_file(_contiguous(self.item_encoder), folder / "item_encoder.safetensors")
        save_file(_contiguous(self.fusion_head), folder / "fusion_head.safetensors")
        part = self.sequence_part
        if part is not None:
            save_file(_contiguous(part), folder / SEQUENCE_FILE)
        document = {
            "base": self.source.as_dict(),
            "own_base": own_base,
            "train_base": self.train_base,
            "lora": _lora_of(self.language_model),
            "prompt": self.prompt.as_dict(),
            "modalities": list(self.item_encoder.modalities),
            "form": asdict(self.item_encoder.form),
            "fused": list(self.fusion_head.modalities),
            "temperature": self.fusion_head.temperature,
            "sequence_part": None if part is None else part.as_dict(),
        }
        (folder / "ranker.json").write_text(json.dumps(document, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Ranker":
        """Read what `save` wrote, in eval mode; it can be trained further.

        Raises UnavailableError when a file is missing or the base model cannot be had.
        """
        document = _read_json(folder / "ranker.json")
        encoder = _load_item_encoder(folder / "item_encoder.safetensors", document)
        head = _load_fusion_head(folder / "fusion_head.safetensors", document, encoder)
        return cls._around(folder, document, encoder, head, load_sequence_part(folder))

    @classmethod
    def _around(
        cls,
        folder: Path,
        document: dict[str, Any],
        item_encoder: ItemEncoder,
        head: FusionHead,
        sequence_part: SequencePart | None,
    ) -> "Ranker":
        source = BaseSource.from_dict(document["base"])
        if document["own_base"]:
            base = load_checkpoint(str(folder / BASE_FOLDER), dtype=source.dtype)
        else:
            base = load_base(source)
        model = PeftModel.from_pretrained(base.model, str(folder), is_trainable=True)
        ranker = cls(
            BaseModel(cast(LlamaForCausalLM, model), base.tokenizer),
            item_encoder,
            head,
            PromptTemplate.from_dict(document["prompt"]),
            source,
            train_base=document["train_base"],
        )
        ranker.sequence_part = sequence_part
        if ranker.train_base:
            ranker.decoder.requires_grad_(True)
        return ranker.eval()


def load_for_serving(folder: Path) -> Ranker:
    """The saved ranker with its adapter merged into the base: no LoRA, no gradients, eval mode.

    Its item side is that of `load_item_side`. Raises UnavailableError as `Ranker.load` does.
    """
    document, item_side = _read_json(folder / "ranker.json"), load_item_side(folder)
    ranker = Ranker._around(folder, document, *item_side, load_sequence_part(folder))
    ranker.language_model = ranker.language_model.merge_and_unload()
    return ranker.requires_grad_(False).eval()


def load_item_side(folder: Path) -> tuple[ItemEncoder, FusionHead]:
    """The saved ranker without its LLM: what the rows of items are made with, and of.

    Its tensors are the files' pages, mapped copy-on-write: a page is read when it is first used,
    and processes share it. The files must not change as long as the result is used.

    Raises UnavailableError when a file is missing.
    """
    document = _read_json(folder / "ranker.json")
    encoder = ItemEncoder.around(
        _read_tensors(folder / "item_encoder.safetensors"),
        [Modality(name) for name in document["modalities"]],
        _form(document),
    )
    head = FusionHead.around(
        _read_tensors(folder / "fusion_head.safetensors"),
        _fused(document),
        encoder.dimension,
        temperature=document["temperature"],
    )
    return encoder.requires_grad_(False).eval(), head.requires_grad_(False).eval()


def load_sequence_part(folder: Path) -> SequencePart | None:
    """What SASRec adds to the saved ranker's scores; None where it takes no part.

    Its tensors are the file's pages, as those of `load_item_side`.

    Raises UnavailableError when a file is missing.
    """
    saved = _read_json(folder / "ranker.json").get("sequence_part")
    if saved is None:
        return None
    state = _read_tensors(folder / SEQUENCE_FILE)
    return SequencePart.around(state, saved["config"], saved["weight"])


def load_prompt(folder: Path) -> PromptTemplate:
    """The saved ranker's prompt. Raises UnavailableError when its file is missing."""
    return PromptTemplate.from_dict(_read_json(folder / "ranker.json")["prompt"])


def load_modalities(folder: Path) -> tuple[Modality, ...]:
    """The saved ranker's modalities. Raises UnavailableError when its file is missing."""
    return tuple(Modality(name) for name in _read_json(folder / "ranker.json")["modalities"])


def base_checkpoint(folder: Path, cache: Path) -> tuple[str, BaseSource]:
    """Where an engine finds the saved ranker's base model (`dense_checkpoint`), and what it is.

    Raises UnavailableError as `Ranker.load` does.
    """
    document = _read_json(folder / "ranker.json")
    source = BaseSource.from_dict(document["base"])
    if document["own_base"]:
        return str(folder / BASE_FOLDER), source
    return dense_checkpoint(source, cache), source


def save_base(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the base inside a PEFT model, without its adapter, as a Hugging Face folder."""
    state = {
        name.replace(".base_layer.", "."): tensor.contiguous()
        for name, tensor in model.get_base_model().state_dict().items()
        if ".lora_" not in name
    }
    model.get_base_model().save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def _peft_config(lora: LoraSpec) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(LORA_TARGETS),
        task_type="CAUSAL_LM",
    )


def _lora_of(model: Any) -> dict[str, Any]:
    config = model.peft_config["default"]
    return asdict(LoraSpec(config.r, config.lora_alpha, config.lora_dropout))


def _contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UnavailableError(f"ranker: {path} cannot be read: {error}") from error
    return document


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UnavailableError(f"ranker: {path} is missing")
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _load_item_encoder(path: Path, document: dict[str, Any]) -> ItemEncoder:
    state = _read_tensors(path)
    modalities = [Modality(name) for name in document["modalities"]]
    encoder = ItemEncoder(
        {modality: state[f"embeddings_{modality}"] for modality in modalities},
        {modality: state[f"codes_{modality}"] for modality in modalities},
        {modality: state[f"code_embeddings.{modality}"] for modality in modalities},
        _form(document),
    )
    encoder.load_state_dict(state)
    return encoder


def _form(document: dict[str, Any]) -> ItemForm:
    """Rankers saved before forms were all of Eq. 16, and fused every modality."""
    return ItemForm(**document.get("form", {}))


def _fused(document: dict[str, Any]) -> tuple[Modality, ...]:
    return tuple(Modality(name) for name in document.get("fused", document["modalities"]))


def _load_fusion_head(path: Path, document: dict[str, Any], encoder: ItemEncoder) -> FusionHead:
    state = _read_tensors(path)
    head = FusionHead(
        state["frequency"],
        _fused(document),
        encoder.dimension,
        temperature=document["temperature"],
    )
    head.load_state_dict(state)
    return head
