"""Vectors of many items from the embedding service, in batches. A bad image costs only itself."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.training.patience import PATIENCE_S, patiently
from services.training.stages.snapshot import SnapshotItem
from shared.artifacts.images import ImageStore
from shared.artifacts.store import ArtifactStore
from shared.clients.embedding import EmbeddingClient
from shared.contracts.embedding import EmbedInput, EmbedOutput, EmbedRequest, EmbedResponse
from shared.database.embeddings import ItemVector
from shared.errors import NotFoundError, UnavailableError
from shared.ingestion.content_vectors import MAX_PAYLOAD_CHARACTERS, as_stored
from shared.modeling.modality import Modality

Vectors = Mapping[Modality, NDArray[np.float32]]

TIMEOUT_S = 30.0
TIMEOUT_S_AN_INPUT = 1.0
LARGEST_BATCH = 256  # what one request may hold
SERVER_ERROR = 500


@dataclass(frozen=True)
class Wanted:
    """A row of the catalogue, its item, and the modalities that are known already."""

    row: int
    item: SnapshotItem
    known: Collection[Modality]


@dataclass
class EmbeddedBatch:
    """What came of some rows: vectors, or what is wrong with their image or text."""

    rows: list[int] = field(default_factory=list)
    vectors: dict[int, Vectors] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


class ContentEmbedder:
    """Embeds items by the encoders of the given revisions."""

    def __init__(
        self,
        client: EmbeddingClient,
        store: ArtifactStore,
        catalog_id: str,
        revisions: Mapping[Modality, str],
        *,
        batch: int,
        check: Callable[[], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """patience_s: how long a service that is away is waited for."""
        self._client = client
        self._images = ImageStore(store, catalog_id)
        self._revisions = revisions
        self._batch = min(batch, LARGEST_BATCH)
        self._check = check
        self._patience_s = patience_s

    def lacks(self, item: SnapshotItem, known: Collection[Modality]) -> bool:
        """Whether an item has something to embed that is not known yet."""
        has_new_text = bool(item.text) and Modality.TEXT not in known
        return has_new_text or (item.image_sha256 is not None and Modality.VISUAL not in known)

    async def embed(self, wanted: Sequence[Wanted]) -> AsyncIterator[EmbeddedBatch]:
        """Batch by batch.

        Raises UnavailableError where the service stays away, or runs other encoders.
        """
        for start in range(0, len(wanted), self._batch):
            rows = wanted[start : start + self._batch]
            batch = EmbeddedBatch(rows=[entry.row for entry in rows])
            inputs = [await self._input(entry, batch) for entry in rows]
            pairs = [(entry, sent) for entry, sent in zip(rows, inputs, strict=True) if sent]
            for group in _groups(pairs):
                await self._send(group, batch)
            yield batch

    async def _input(self, entry: Wanted, batch: EmbeddedBatch) -> EmbedInput | None:
        """What to send of an item; what cannot be sent is noted in `batch`."""
        text = None if Modality.TEXT in entry.known else entry.item.text or None
        image = None
        if entry.item.image_sha256 is not None and Modality.VISUAL not in entry.known:
            try:
                data = await asyncio.to_thread(self._images.get, entry.item.image_sha256)
                image = base64.b64encode(data).decode("ascii")
            except NotFoundError as error:
                batch.problems[entry.row] = error.detail
        if text is None and image is None:
            return None
        try:
            return EmbedInput(text=text, image_base64=image)
        except ValidationError as error:
            batch.problems[entry.row] = f"text: {error.errors()[0]['msg']}"
            return None if image is None else EmbedInput(image_base64=image)

    async def _send(self, group: Sequence[tuple[Wanted, EmbedInput]], batch: EmbeddedBatch) -> None:
        outputs = await self._outputs([sent for _, sent in group])
        again: list[tuple[Wanted, EmbedInput]] = []
        for (entry, sent), output in zip(group, outputs, strict=True):
            if output.problem is None:
                batch.vectors[entry.row] = _vectors(sent, output)
                continue
            batch.problems[entry.row] = output.problem.detail
            if sent.text is not None and sent.image_base64 is not None:
                again.append((entry, EmbedInput(text=sent.text)))
        if again:
            await self._send(again, batch)

    async def _outputs(self, inputs: list[EmbedInput]) -> Sequence[EmbedOutput]:
        request = EmbedRequest(inputs=inputs)
        timeout_s = TIMEOUT_S + TIMEOUT_S_AN_INPUT * len(inputs)

        async def call() -> EmbedResponse:
            response = await self._client.embed(request, timeout_s=timeout_s)
            for output in response.outputs:
                if output.problem is not None and output.problem.status >= SERVER_ERROR:
                    raise UnavailableError(output.problem.detail)
            return response

        response = await patiently(call, check=self._check, at_most_s=self._patience_s)
        served = {
            Modality.TEXT: response.text_revision,
            Modality.VISUAL: response.image_revision,
        }
        if served != dict(self._revisions):
            raise UnavailableError(
                f"The embedding service runs the encoders {served}, no longer"
                f" {dict(self._revisions)}"
            )
        return response.outputs


def item_vectors(
    items: Sequence[SnapshotItem], revisions: Mapping[Modality, str], made: Mapping[int, Vectors]
) -> list[ItemVector]:
    """What was made of some rows of `items`, as it is stored."""
    return [
        ItemVector(items[row].item_id, items[row].version, modality, revisions[modality], vector)
        for row, vectors in made.items()
        for modality, vector in vectors.items()
    ]


def _groups(
    pairs: Sequence[tuple[Wanted, EmbedInput]],
) -> Iterator[list[tuple[Wanted, EmbedInput]]]:
    """As few requests as the limit on their size allows, in order."""
    group: list[tuple[Wanted, EmbedInput]] = []
    characters = 0
    for entry, sent in pairs:
        size = len(sent.text or "") + len(sent.image_base64 or "")
        if group and characters + size > MAX_PAYLOAD_CHARACTERS:
            yield group
            group, characters = [], 0
        group.append((entry, sent))
        characters += size
    if group:
        yield group


def _vectors(sent: EmbedInput, output: EmbedOutput) -> Vectors:
    vectors: dict[Modality, NDArray[np.float32]] = {}
    if sent.text is not None and output.text is not None:
        vectors[Modality.TEXT] = as_stored(output.text)
    if sent.image_base64 is not None and output.visual is not None:
        vectors[Modality.VISUAL] = as_stored(output.visual)
    return vectors
