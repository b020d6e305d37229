"""The Amazon review corpora of 2014, 2018 and 2023: a reviews file and a metadata file.

2014 metadata lines are Python literals, not JSON; both are read. Items of 2023 go by
`parent_asin`, as their metadata do. Pictures are addresses, unless `images/<asin>.*` is there.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.data import cells
from shared.data.dataset import Progress
from shared.data.reading import images_by_id, read_interactions, read_items
from shared.data.records import InteractionRecord, ItemRecord, RowError
from shared.data.tables import Row, json_rows, read_lines
from shared.errors import InvalidInputError

LOOKED_FOR = "meta_<name>.(json|jsonl)[.gz] with one file of reviews *.(json|jsonl)[.gz]"

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_MAX_LITERAL = 2**20
# Fields that name other items, hold pages of text or are mapped by hand below.
_KNOWN = frozenset({
    "asin", "parent_asin", "title", "description", "features", "feature", "categories", "category",
    "main_category", "main_cat", "brand", "store", "price", "imUrl", "imageURL", "imageURLHighRes",
    "image", "images", "videos", "related", "also_buy", "also_view", "bought_together",
    "similar_item", "tech1", "tech2", "salesRank", "rank", "details",
})  # fmt: skip


def find_files(root: Path) -> tuple[Path, Path] | None:
    """The metadata and the reviews, or None where the folder is no Amazon corpus.

    Raises:
        InvalidInputError: several files could be the one or the other.
    """
    files = sorted(path for path in root.iterdir() if path.name.endswith(_SUFFIXES))
    metadata = [path for path in files if path.name.startswith("meta_")]
    reviews = [path for path in files if not path.name.startswith("meta_")]
    if not metadata or not reviews:
        return None
    for role, found in (("metadata", metadata), ("reviews", reviews)):
        if len(found) > 1:
            listed = ", ".join(path.name for path in found)
            raise InvalidInputError.of("path", f"{root} holds several files of {role}: {listed}")
    return metadata[0], reviews[0]


class AmazonDataset:
    """One category of one of the corpora."""

    kind = "amazon"

    def __init__(self, root: Path) -> None:
        """
        Raises:
            InvalidInputError: the two files are not there, or there are several.
        """
        files = find_files(root)
        if files is None:
            raise InvalidInputError.of("path", f"{root} holds no {LOOKED_FOR}")
        self.name = root.resolve().name
        self._metadata, self._reviews = files
        self._images = root / "images"
        self.progress = Progress.of_files(*files)

    def items(self) -> Iterator[ItemRecord | RowError]:
        images = images_by_id(self._images)
        rows = self._rows(self._metadata)
        return read_items(rows, lambda row: _item(row.values, images))

    def interactions(self) -> Iterator[InteractionRecord | RowError]:
        return read_interactions(self._rows(self._reviews), lambda row: _interaction(row.values))

    def _rows(self, path: Path) -> Iterator[Row | RowError]:
        return json_rows(read_lines(path, path.name, self.progress), path.name, parse_line)


def parse_line(line: str) -> object:
    """A line of JSON, or of a Python literal as the metadata of 2014 are written.

    Nothing is executed: `ast.literal_eval` takes constants, lists and dicts only.

    Raises:
        ValueError: neither of the two.
    """
    try:
        return json.loads(line)
    except ValueError as error:
        if len(line) > _MAX_LITERAL or not line.lstrip().startswith("{"):
            raise
        try:
            return ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise error from None


def _item(values: Mapping[str, object], images: Mapping[str, Path]) -> ItemRecord:
    item_id = cells.identifier("asin", values.get("parent_asin") or values.get("asin"))
    parts = (
        cells.markup(values.get("description")),
        cells.markup(values.get("features") or values.get("feature")),
    )
    categories = (
        cells.names(values.get("categories"))
        or cells.names(values.get("category"))
        or cells.names(values.get("main_category") or values.get("main_cat"))
    )
    others = cells.attributes(values, _KNOWN)
    price = _price(values.get("price"))
    if price is not None:
        others["price"] = price
    return ItemRecord(
        item_id=item_id,
        title=cells.line(cells.markup(values.get("title"))),
        description="\n".join(part for part in parts if part),
        categories=tuple(cells.markup(name) for name in categories),
        brand=cells.line(cells.markup(values.get("brand") or values.get("store"))) or None,
        attributes=others,
        image_path=images.get(item_id),
        image_url=_image_url(values),
    )


def _interaction(values: Mapping[str, object]) -> InteractionRecord:
    user = "user_id" if "user_id" in values else "reviewerID"
    item = "parent_asin" if values.get("parent_asin") else "asin"
    rating = "rating" if "rating" in values else "overall"
    time = "timestamp" if "timestamp" in values else "unixReviewTime"
    return InteractionRecord(
        user_id=cells.identifier(user, values.get(user)),
        item_id=cells.identifier(item, values.get(item)),
        timestamp=cells.moment(time, values.get(time)),
        rating=cells.number(rating, values.get(rating)),
    )


def _price(value: object) -> float | None:
    """9.99 and "$1,299.00" are prices; a range, a dash or leftovers of a page are none."""
    try:
        bare = value.replace("$", "").replace(",", "") if isinstance(value, str) else value
        return cells.number("price", bare)
    except cells.BadCellError:
        return None


def _image_url(values: Mapping[str, object]) -> str | None:
    """The first picture: the largest size that is given of it."""
    for field in ("imUrl", "imageURLHighRes", "imageURL", "image", "images"):
        value = values.get(field)
        if isinstance(value, list):
            value = next((entry for entry in value if entry), None)
        if isinstance(value, dict):
            value = next(
                (value[size] for size in ("hi_res", "large", "thumb") if value.get(size)), None
            )
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return value
    return None
