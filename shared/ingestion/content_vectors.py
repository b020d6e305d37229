"""The content vectors of items: those stored already, and the rest from the embedding service."""

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.artifacts.images import ImageStore
from shared.clients.embedding import EmbeddingClient
from shared.contracts.embedding import EmbedInput, EmbedOutput, EmbedRequest
from shared.database.tables import ItemRow
from shared.errors import InvalidInputError, MmesidError, UnavailableError, from_problem
from shared.ingestion.target_bundle import TargetBundle
from shared.modeling.encoders.item_text import item_text
from shared.modeling.modality import Modality

Vectors = Mapping[Modality, NDArray[np.float32]]

MAX_PAYLOAD_CHARACTERS = 16 * 2**20
EMBED_TIMEOUT_S = 10.0
EMBED_TIMEOUT_S_AN_INPUT = 1.0


@dataclass(frozen=True)
class Wanted:
    """An item and what has to be embedded of it."""

    item_id: str
    input: EmbedInput

    @property
    def characters(self) -> int:
        return len(self.input.text or "") + len(self.input.image_base64 or "")


def text_of(row: ItemRow) -> str:
    """The text that an item is embedded by."""
    return item_text(
        title=row.title,
        description=row.description,
        categories=row.categories,
        brand=row.brand,
        attributes=row.attributes,
    )


async def content_vectors(
    rows: Sequence[ItemRow],
    stored: Mapping[str, Vectors],
    *,
    target: TargetBundle,
    images: ImageStore,
    embedding: EmbeddingClient,
) -> dict[str, Vectors | MmesidError]:
    """The vectors [D_j] of each item by the target's encoders, or the problem it has.

    `stored`: what is known of the present versions. Vectors are rounded to float16 as they are
    stored, so that semantic IDs do not depend on whether a vector was read back or just made.

    Raises:
        MmesidError: the embedding service did not serve the request as a whole.
    """
    found: dict[str, Vectors | MmesidError] = {}
    wanted: list[Wanted] = []
    for row in rows:
        found[row.item_id] = known = stored.get(row.item_id, {})
        try:
            lacking = await _lacking(row, known, target, images)
        except MmesidError as error:
            found[row.item_id] = error
            continue
        if lacking is not None:
            wanted.append(Wanted(row.item_id, lacking))
    for group in _groups(wanted):
        for item_id, made in (await _embed(group, target, embedding)).items():
            if isinstance(made, MmesidError):
                found[item_id] = made
            else:
                found[item_id] = {**stored.get(item_id, {}), **made}
    return {item_id: vectors or _nothing_to_embed() for item_id, vectors in found.items()}


async def _lacking(
    row: ItemRow, known: Vectors, target: TargetBundle, images: ImageStore
) -> EmbedInput | None:
    """What to send of an item, or None where all its vectors are known.

    Raises:
        InvalidInputError: the text is longer than the embedding service takes.
        NotFoundError: the image store lost the image.
    """
    wanted = target.revisions.keys() - known.keys()
    text = text_of(row) if Modality.TEXT in wanted else ""
    image = None
    if Modality.VISUAL in wanted and row.image_sha256 is not None:
        data = await asyncio.to_thread(images.get, row.image_sha256)
        image = base64.b64encode(data).decode("ascii")
    if not text and image is None:
        return None
    try:
        return EmbedInput(text=text or None, image_base64=image)
    except ValidationError as error:
        raise InvalidInputError.of("item", error.errors()[0]["msg"]) from error


def _groups(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """As few requests as their size allows, in order."""
    group: list[Wanted] = []
    characters = 0
    for item in wanted:
        if group and characters + item.characters > MAX_PAYLOAD_CHARACTERS:
            yield group
            group, characters = [], 0
        group.append(item)
        characters += item.characters
    if group:
        yield group


async def _embed(
    group: Sequence[Wanted], target: TargetBundle, embedding: EmbeddingClient
) -> dict[str, Vectors | MmesidError]:
    response = await embedding.embed(
        EmbedRequest(inputs=[item.input for item in group]),
        timeout_s=EMBED_TIMEOUT_S + EMBED_TIMEOUT_S_AN_INPUT * len(group),
    )
    target.require_encoders_of(response)
    return {
        item.item_id: _vectors(item.input, output)
        for item, output in zip(group, response.outputs, strict=True)
    }


def _vectors(sent: EmbedInput, output: EmbedOutput) -> Vectors | MmesidError:
    if output.problem is not None:
        return from_problem(output.problem.model_dump())
    vectors: dict[Modality, NDArray[np.float32]] = {}
    if sent.text is not None and output.text is not None:
        vectors[Modality.TEXT] = as_stored(output.text)
    if sent.image_base64 is not None and output.visual is not None:
        vectors[Modality.VISUAL] = as_stored(output.visual)
    asked = (sent.text is not None) + (sent.image_base64 is not None)
    if len(vectors) != asked:
        return UnavailableError("The embedding service left out a vector that it was asked for")
    return vectors


def as_stored(vector: Sequence[float]) -> NDArray[np.float32]:
    """[D] at the precision of the database."""
    return np.asarray(vector, dtype=np.float16).astype(np.float32)


def _nothing_to_embed() -> InvalidInputError:
    return InvalidInputError.of("item", "has neither text nor an image that could be embedded")
