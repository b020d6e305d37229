"""Content vectors to semantic IDs, for many items at once."""

from collections.abc import Mapping

from shared.clients.tokenization import TokenizationClient
from shared.contracts.tokenization import TokenizedItem, TokenizeItem, TokenizeRequest
from shared.errors import InvalidInputError, MmesidError, UnavailableError
from shared.ingestion.content_vectors import Vectors
from shared.ingestion.ready_item import as_lists


async def tokenize(
    tokenization: TokenizationClient,
    catalog_id: str,
    bundle: str,
    vectors: Mapping[str, Vectors],
) -> dict[str, TokenizedItem | MmesidError]:
    """The semantic IDs of each item, or the problem it has.

    Where a request is refused for one item, the items are sent one by one, so that the others do
    not suffer for it.

    Raises:
        MmesidError: the tokenization service did not serve the request as a whole.
    """
    request = TokenizeRequest(
        catalog_id=catalog_id,
        bundle=bundle,
        items=[
            TokenizeItem(item_id=item_id, vectors=as_lists(of_item))
            for item_id, of_item in vectors.items()
        ],
    )
    try:
        response = await tokenization.tokenize(request)
    except InvalidInputError as error:
        if len(vectors) == 1:
            return dict.fromkeys(vectors, error)
        found: dict[str, TokenizedItem | MmesidError] = {}
        for item_id, of_item in vectors.items():
            found |= await tokenize(tokenization, catalog_id, bundle, {item_id: of_item})
        return found
    answered = {item.item_id: item for item in response.items}
    left_out = UnavailableError("The tokenization service left out an item that it was asked for")
    return {item_id: answered.get(item_id, left_out) for item_id in vectors}
