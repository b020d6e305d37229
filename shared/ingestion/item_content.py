"""The content of an item with its hash: equal hashes mean that nothing changed."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from shared.contracts.common import AttributeValue
from shared.database.items import ItemContent


def item_content(
    *,
    title: str,
    description: str = "",
    categories: Sequence[str] = (),
    brand: str | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
    image_sha256: str | None = None,
) -> ItemContent:
    """The content with the SHA-256 over all of it; the order of attributes does not matter."""
    plain = {name: _number_as_float(value) for name, value in (attributes or {}).items()}
    fields = {
        "title": title,
        "description": description,
        "categories": list(categories),
        "brand": brand,
        "attributes": plain,
        "image_sha256": image_sha256,
    }
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return ItemContent(
        title=title,
        description=description,
        categories=tuple(categories),
        brand=brand,
        attributes=plain,
        image_sha256=image_sha256,
        content_hash=hashlib.sha256(canonical.encode()).hexdigest(),
    )


def _number_as_float(value: AttributeValue) -> AttributeValue:
    """5 and 5.0 are the same, also after the database returned one for the other."""
    return value if isinstance(value, str | bool) else float(value)
