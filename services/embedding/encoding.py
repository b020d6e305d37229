"""The encoders behind their queues: what one input goes through."""

import asyncio
import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import httpx
import torch
from PIL import Image
from prometheus_client import Counter, Histogram
from torch import Tensor

from shared.batching import Batcher
from shared.computing import compute
from shared.contracts.common import Problem
from shared.contracts.embedding import EmbedInput, EmbedOutput, EmbedResponse, Encoder, Encoders
from shared.errors import (
    InvalidInputError,
    MmesidError,
    PayloadTooLargeError,
    UnavailableError,
)
from shared.image_fetch import FetchPolicy, fetch_image
from shared.images import ImageLimits, decode_image
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder
from shared.modeling.encoders.protocols import ImageEncoder, TextEncoder
from shared.settings import EncoderSettings, ImageSettings

In = TypeVar("In")

# What a batch of texts may cost, in characters: about what 32 long descriptions have. A batch of
# longer texts would keep the others waiting for seconds.
MAX_TEXT_COST = 40_000

BATCH_SIZE = Histogram(
    "mmesid_embedding_batch_size",
    "Inputs in one call of an encoder.",
    ["modality"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
BATCH_SECONDS = Histogram(
    "mmesid_embedding_batch_seconds", "Duration of one call of an encoder.", ["modality"]
)
PROBLEMS = Counter(
    "mmesid_embedding_problems_total", "Inputs that could not be embedded, by problem.", ["problem"]
)


@dataclass(frozen=True)
class LoadedEncoders:
    """The two encoders and the sources they were loaded from."""

    text: TextEncoder
    image: ImageEncoder
    text_source: str
    image_source: str

    @classmethod
    def load(cls, settings: EncoderSettings) -> Self:
        """Raises UnavailableError or InvalidInputError as the loaders do."""
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        return cls(
            text=load_text_encoder(settings.text, settings.device),
            image=load_image_encoder(settings.image, settings.device),
            text_source=settings.text,
            image_source=settings.image,
        )

    def describe(self) -> Encoders:
        return Encoders(
            text=Encoder(
                source=self.text_source,
                revision=self.text.revision,
                dimension=self.text.dimension,
            ),
            image=Encoder(
                source=self.image_source,
                revision=self.image.revision,
                dimension=self.image.dimension,
            ),
        )


class EmbeddingQueue:
    """Inputs to outputs; the texts and the images of all requests share the encoders' batches."""

    def __init__(
        self,
        encoders: LoadedEncoders,
        settings: EncoderSettings,
        images: ImageSettings,
        client: httpx.AsyncClient,
    ) -> None:
        self.encoders = encoders
        self._client = client
        self._limits = ImageLimits(images.max_bytes, images.max_pixels)
        self._policy = FetchPolicy(images.fetch_timeout_s, images.allow_private_hosts)
        # A decoded image may take 150 MB until it is cut to the encoder's size.
        self._decoding = asyncio.Semaphore(os.cpu_count() or 1)
        self._texts = Batcher[str, Tensor](
            lambda batch: compute(self._encode_texts, batch),
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            queue_size=settings.queue_size,
            cost=len,
            max_cost=MAX_TEXT_COST,
        )
        self._pixels = Batcher[Tensor, Tensor](
            lambda batch: compute(self._encode_pixels, batch),
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            queue_size=settings.queue_size,
        )

    async def embed(self, inputs: Sequence[EmbedInput]) -> EmbedResponse:
        """One output an input, in order; an input at fault carries its own problem.

        Raises:
            OverloadedError: the queue has no room for the whole request.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._embed_one(given)) for given in inputs]
        except ExceptionGroup as errors:  # not an input's own fault: the request ends
            raise _first_cause(errors) from errors
        return EmbedResponse(
            outputs=[task.result() for task in tasks],
            text_revision=self.encoders.text.revision,
            image_revision=self.encoders.image.revision,
        )

    async def close(self) -> None:
        """Finish what waits."""
        await asyncio.gather(self._texts.close(), self._pixels.close())

    @property
    def waiting(self) -> int:
        return self._texts.waiting + self._pixels.waiting

    @property
    def closed(self) -> bool:
        return self._texts.closed

    async def _embed_one(self, given: EmbedInput) -> EmbedOutput:
        try:
            pixels = await self._prepared(given)
        except (InvalidInputError, PayloadTooLargeError, UnavailableError) as error:
            PROBLEMS.labels(error.slug).inc()
            return EmbedOutput(problem=as_problem(error))
        async with asyncio.TaskGroup() as group:
            text = group.create_task(_vector(self._texts, given.text))
            visual = group.create_task(_vector(self._pixels, pixels))
        return EmbedOutput(text=text.result(), visual=visual.result())

    async def _prepared(self, given: EmbedInput) -> Tensor | None:
        """The image as the encoder takes it; None where the input has none."""
        if given.image_url is not None:
            field = "image_url"
            data = await fetch_image(
                given.image_url, client=self._client, limits=self._limits, policy=self._policy
            )
        elif given.image_base64 is not None:
            field = "image_base64"
            data = from_base64(given.image_base64, field)
        else:
            return None
        async with self._decoding:
            return await asyncio.to_thread(self._decode, data, field)

    def _decode(self, data: bytes, field: str) -> Tensor:
        image: Image.Image = decode_image(data, field=field, limits=self._limits)
        return self.encoders.image.prepare(image)

    def _encode_texts(self, texts: list[str]) -> list[Tensor]:
        BATCH_SIZE.labels("text").observe(len(texts))
        with BATCH_SECONDS.labels("text").time():
            return list(self.encoders.text.encode(texts))

    def _encode_pixels(self, pixels: list[Tensor]) -> list[Tensor]:
        BATCH_SIZE.labels("visual").observe(len(pixels))
        with BATCH_SECONDS.labels("visual").time():
            return list(self.encoders.image.encode_prepared(pixels))


async def _vector(batcher: Batcher[In, Tensor], item: In | None) -> list[float] | None:
    if item is None:
        return None
    vector: list[float] = (await batcher.submit(item)).tolist()
    return vector


def _first_cause(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def from_base64(text: str, field: str) -> bytes:
    """Raises InvalidInputError where the text is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInputError.of(field, f"is not base64: {error}") from error


def as_problem(error: MmesidError) -> Problem:
    return Problem.model_validate(error.problem())
