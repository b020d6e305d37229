"""LLM2CLIP (Huang et al. 2024): a CLIP vision tower and a language model in one space.

    image -> CLIP vision tower -> projection -> normalise                            [n, 1280]
    text  -> Llama, every token sees every token -> mean over the text's tokens      [n, 4096]
          -> adapter: normalise, 4 x (x + MLP(LayerNorm(x))), LayerNorm, Linear      [n, 1280]
          -> normalise

Two checkpoints make a pair: the vision tower, its projection and the text adapter lie in one
(`vision_model.*`, `visual_projection.*`, `text_adapter.adaptor.*`), the language model in the
other (`layers.*` of a Llama). Sizes come from the checkpoints.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlamaConfig,
    LlamaModel,
)

from shared.errors import UnavailableError
from shared.modeling.encoders.batches import encode_by_length, encode_in_chunks
from shared.modeling.encoders.checkpoint import (
    checkpoint_folder,
    load_exactly,
    load_preprocessor,
    load_pretrained,
    read_config,
    read_tensors,
    revision_files,
)
from shared.modeling.encoders.item_text import ITEM_TEXT_VERSION
from shared.modeling.encoders.pixels import Preprocessing
from shared.modeling.encoders.pooling import masked_mean, unit
from shared.modeling.encoders.revision import revision_of

CLIP_CHECKPOINT = "microsoft/LLM2CLIP-Openai-L-14-336"
LLM_CHECKPOINT = "microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned"

MAX_TOKENS = 512
BATCH_TOKENS = 8192
CHUNK = 16
# The statistics of OpenAI's CLIP, on the scale 0 to 255.
MEAN = (122.7709383, 116.7460125, 104.09373615)
STD = (68.5005327, 66.6321375, 70.3231605)

# How the language model was tuned to see a text (LLM2Vec's convention for Llama-3-Instruct): as a
# user's turn. The header is read but not pooled; the closing token is pooled with the text.
HEADER = "<|start_header_id|>user<|end_header_id|>\n\n"
END_OF_TURN = "<|eot_id|>"

ADAPTER_KEYS = "text_adapter."


class AdapterBlock(nn.Module):
    """x + MLP(LayerNorm(x)), of width D and hidden width H."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(width)
        # The empty place is the dropout of training; it keeps the checkpoint's numbering.
        self.fn = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.fn(self.ln(x))
        return out


class TextAdapter(nn.Module):
    """[n, D] of the language model to [n, D_t] of the shared space."""

    def __init__(self, width: int, hidden: int, blocks: int, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.adaptor = nn.Sequential(
            *(AdapterBlock(width, hidden) for _ in range(blocks)),
            nn.LayerNorm(width),
            nn.Linear(width, dimension),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.adaptor(F.normalize(x, dim=-1))
        return out


class Llm2ClipText:
    def __init__(self, clip: Path, llm: Path, device: torch.device) -> None:
        self._device = device
        self._tokenizer = load_preprocessor(AutoTokenizer, llm)
        self._llm = load_bidirectional_llama(llm).to(device)
        self._adapter = load_adapter(clip).to(device)
        self._header, self._end = self._frame()
        self.dimension = self._adapter.dimension
        self.revision = revision_of(
            "llm2clip-text",
            [*revision_files(clip), *revision_files(llm)],
            {"max_tokens": MAX_TOKENS, "header": HEADER, "item_text": ITEM_TEXT_VERSION},
        )

    def encode(self, texts: Sequence[str]) -> Tensor:
        bodies = [self._body(text) for text in texts]
        return encode_by_length(
            [len(self._header) + len(body) for body in bodies],
            lambda batch: self._forward([bodies[index] for index in batch]),
            dimension=self.dimension,
            max_tokens=BATCH_TOKENS,
        )

    def _frame(self) -> tuple[list[int], list[int]]:
        """Ids before and after a text. Tokenizers without turns get the plain text."""
        vocabulary = self._tokenizer.get_vocab()
        if END_OF_TURN not in vocabulary:
            return self._tokenizer("")["input_ids"], []
        return self._tokenizer(HEADER)["input_ids"], [vocabulary[END_OF_TURN]]

    def _body(self, text: str) -> list[int]:
        """Ids of the text and the end of the turn: the tokens that are pooled, at least one."""
        room = MAX_TOKENS - len(self._header) - len(self._end)
        ids = self._tokenizer(text.strip(), add_special_tokens=False)["input_ids"][:room]
        return [*ids, *self._end] or [self._tokenizer.eos_token_id]

    @torch.inference_mode()
    def _forward(self, bodies: list[list[int]]) -> Tensor:
        ids, seen, pooled = left_padded(self._header, bodies)
        states = self._llm(
            input_ids=ids.to(self._device),
            attention_mask=seen.to(self._device),
            # Counted from a text's own start, so that its batch does not show in its vector.
            position_ids=(seen.cumsum(-1) - 1).clamp(min=0).to(self._device),
            use_cache=False,
        ).last_hidden_state
        return unit(self._adapter(masked_mean(states.float(), pooled.to(self._device))))


class Llm2ClipImage:
    def __init__(self, clip: Path, device: torch.device) -> None:
        self._device = device
        self._model = load_vision_tower(clip).to(device)
        size = int(self._model.config.image_size)
        self._preprocessing = Preprocessing(resize=size, size=size, mean=MEAN, std=STD)
        self.dimension = int(self._model.config.projection_dim)
        self.revision = revision_of(
            "llm2clip-image", revision_files(clip), asdict(self._preprocessing)
        )

    def prepare(self, image: Image.Image) -> Tensor:
        return self._preprocessing.crop(image)

    def encode_prepared(self, pixels: Sequence[Tensor]) -> Tensor:
        return encode_in_chunks(pixels, self._forward, dimension=self.dimension, size=CHUNK)

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        return self.encode_prepared([self.prepare(image) for image in images])

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Tensor:
        values = self._preprocessing.normalise(pixels.to(self._device))
        return unit(self._model(pixel_values=values).image_embeds)


def left_padded(header: list[int], bodies: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, tokens that are seen and tokens that are pooled, each [n, T], ends aligned."""
    width = len(header) + max(map(len, bodies))
    ids = torch.zeros(len(bodies), width, dtype=torch.long)
    seen, pooled = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, body in enumerate(bodies):
        whole = [*header, *body]
        ids[row, -len(whole) :] = torch.tensor(whole)
        seen[row, -len(whole) :] = 1
        pooled[row, -len(body) :] = 1
    return ids, seen, pooled


def load_bidirectional_llama(folder: Path) -> Any:
    """The Llama of a folder with attention in both directions, in the checkpoint's precision."""
    if read_config(folder).get("model_type") != "llama":
        raise UnavailableError(f"The language model in {folder} is not of type llama.")
    config = LlamaConfig.from_pretrained(folder)
    config.is_causal = False  # which mask is made from the padding
    model = load_pretrained(LlamaModel, folder, config=config, dtype="auto").eval()
    for layer in model.layers:
        layer.self_attn.is_causal = False  # what attention does where no mask is needed
    return model


def load_adapter(folder: Path) -> TextAdapter:
    """The text adapter of a CLIP checkpoint, its sizes read from the tensors.

    Raises:
        UnavailableError: the checkpoint has no adapter, or one of another layout.
    """
    found = read_tensors(folder, lambda name: name.startswith(ADAPTER_KEYS))
    tensors = {name.removeprefix(ADAPTER_KEYS): tensor.float() for name, tensor in found.items()}
    blocks = sum(name.endswith(".fn.0.weight") for name in tensors)
    last = tensors.get(f"adaptor.{blocks + 1}.weight")
    if blocks == 0 or last is None:
        raise UnavailableError(f"{folder} has no text adapter ({ADAPTER_KEYS}*).")
    hidden, width = tensors["adaptor.0.fn.0.weight"].shape
    with torch.device("meta"):
        adapter = TextAdapter(width, hidden, blocks, last.shape[0])
    load_exactly(adapter.to_empty(device="cpu"), tensors, folder)
    return adapter.eval()


def load_vision_tower(folder: Path) -> Any:
    """The vision tower and its projection, in float32.

    Raises:
        UnavailableError: the checkpoint lacks them.
    """
    found = read_tensors(folder, lambda name: name.startswith(("vision_model.", "visual_proj")))
    tensors = {
        name: tensor.float()
        for name, tensor in found.items()
        if not name.endswith("position_ids")  # a constant that older checkpoints stored
    }
    projection = tensors.get("visual_projection.weight")
    settings = read_config(folder).get("vision_config")
    if projection is None or settings is None:
        raise UnavailableError(f"{folder} has no vision tower with a projection.")
    config = CLIPVisionConfig(**{**settings, "projection_dim": projection.shape[0]})
    model = CLIPVisionModelWithProjection(config)
    load_exactly(model, tensors, folder)
    return model.eval()


def load_llm2clip_text(place: str, device: torch.device) -> Llm2ClipText:
    """`place` is `<clip>,<llm>`, hub ids or folders; what is left out is Microsoft's."""
    clip, _, llm = place.partition(",")
    return Llm2ClipText(
        checkpoint_folder(clip or CLIP_CHECKPOINT), checkpoint_folder(llm or LLM_CHECKPOINT), device
    )


def load_llm2clip_image(place: str, device: torch.device) -> Llm2ClipImage:
    """`place` as for the text encoder; only its first half is used."""
    clip, _, _ = place.partition(",")
    return Llm2ClipImage(checkpoint_folder(clip or CLIP_CHECKPOINT), device)
