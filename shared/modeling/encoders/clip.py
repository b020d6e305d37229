"""Any CLIP or SigLIP pair of transformers' layout, by hub id or folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from shared.errors import UnavailableError
from shared.modeling.encoders.batches import encode_by_length, encode_in_chunks
from shared.modeling.encoders.checkpoint import (
    checkpoint_folder,
    load_preprocessor,
    load_pretrained,
    read_config,
    revision_files,
)
from shared.modeling.encoders.item_text import ITEM_TEXT_VERSION
from shared.modeling.encoders.pooling import unit
from shared.modeling.encoders.revision import revision_of

BATCH_TOKENS = 2048
CHUNK = 8
# SigLIP was trained on texts padded to the full length, without a mask over the padding.
PADDED_TO_THE_END = ("siglip", "siglip2")


class ClipText:
    """The text tower and its projection, normalised."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = device
        self._tokenizer = load_preprocessor(AutoTokenizer, folder)
        self._model = _pair(folder, device, without="vision_model")
        config = self._model.config
        self._padded = config.model_type in PADDED_TO_THE_END
        self._max_tokens = int(config.text_config.max_position_embeddings)
        self.revision = revision_of(
            config.model_type, revision_files(folder), {"item_text": ITEM_TEXT_VERSION}
        )
        self.dimension = int(self._forward(self._tokenize([""])).shape[1])

    def encode(self, texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.empty(0, self.dimension)
        ids = self._tokenize(texts)
        return encode_by_length(
            [len(row) for row in ids],
            lambda batch: self._forward([ids[index] for index in batch]),
            dimension=self.dimension,
            max_tokens=BATCH_TOKENS,
        )

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._max_tokens,
            padding="max_length" if self._padded else False,
        )["input_ids"]
        return ids

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> Tensor:
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
        mask = None if self._padded else batch["attention_mask"]
        features = self._model.get_text_features(batch["input_ids"], attention_mask=mask)
        return unit(features.pooler_output)


class ClipImage:
    """The vision tower and its projection, normalised."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = device
        self._processor = load_preprocessor(AutoImageProcessor, folder, backend="pil")
        self._model = _pair(folder, device, without="text_model")
        self.revision = revision_of(self._model.config.model_type, revision_files(folder), {})
        probe = self.prepare(Image.new("RGB", (8, 8)))
        self.dimension = int(self._forward(probe[None]).shape[1])

    def prepare(self, image: Image.Image) -> Tensor:
        pixels: Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def encode_prepared(self, pixels: Sequence[Tensor]) -> Tensor:
        return encode_in_chunks(pixels, self._forward, dimension=self.dimension, size=CHUNK)

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        return self.encode_prepared([self.prepare(image) for image in images])

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Tensor:
        return unit(self._model.get_image_features(pixels.to(self._device)).pooler_output)


def load_clip_text(source: str, device: torch.device) -> ClipText:
    """Raises UnavailableError where the checkpoint cannot be had, or is no CLIP or SigLIP."""
    return ClipText(_clip_folder(source), device)


def load_clip_image(source: str, device: torch.device) -> ClipImage:
    """Raises UnavailableError where the checkpoint cannot be had, or is no CLIP or SigLIP."""
    return ClipImage(_clip_folder(source), device)


def _clip_folder(source: str) -> Path:
    folder = checkpoint_folder(source)
    model_type = read_config(folder).get("model_type")
    if model_type not in ("clip", *PADDED_TO_THE_END):
        raise UnavailableError(f"{source} is of type {model_type}, not a CLIP or SigLIP pair.")
    return folder


def _pair(folder: Path, device: torch.device, *, without: str) -> Any:
    """The model without the tower that is not used."""
    model = load_pretrained(AutoModel, folder)
    setattr(model, without, None)
    return model.to(device).eval()
