"""The service's HTTP surface."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.embedding.encoding import EmbeddingQueue
from shared.contracts.embedding import EmbedRequest, EmbedResponse, Encoders
from shared.errors import InvalidInputError, OverloadedError, PayloadTooLargeError
from shared.http import problem_responses

router = APIRouter()


def embedding_queue(request: Request) -> EmbeddingQueue:
    queue: EmbeddingQueue = request.app.state.queue
    return queue


Queue = Annotated[EmbeddingQueue, Depends(embedding_queue)]


@router.post(
    "/embed", responses=problem_responses(InvalidInputError, PayloadTooLargeError, OverloadedError)
)
async def embed(request: EmbedRequest, queue: Queue) -> EmbedResponse:
    """Vectors of texts and images, one output an input, in order."""
    return await queue.embed(request.inputs)


@router.get("/encoders")
async def encoders(queue: Queue) -> Encoders:
    """Which encoders serve here, their dimensions and revisions."""
    return queue.encoders.describe()
