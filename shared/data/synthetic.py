"""A shop that is made up: the data set that needs no download.

Items are described by traits of which each modality shows a part: words tell product, purpose and
material; pictures tell product, colour, pattern and form; only behaviour tells the circle of
customers that likes an item and the series it belongs to (`shop_behaviour`). A model that leaves a
modality out does worse, and a new item can be placed by its words and picture.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

import numpy as np

from shared.data.dataset import Progress
from shared.data.records import InteractionRecord, ItemRecord
from shared.data.shop_behaviour import ItemTraits, simulate
from shared.data.shop_pictures import FORMS, PALETTES, PATTERNS, draw_product
from shared.data.shop_words import MATERIALS, PRODUCTS, PURPOSES, describe
from shared.errors import InvalidInputError

CIRCLES = 16
SERIES_LENGTH = 5
MIN_INTERACTIONS, MAX_INTERACTIONS = 8, 12
MIN_ITEMS = 50
OPENED = datetime(2024, 1, 1, tzinfo=UTC)

# Streams of random numbers that must not be the same: the first word after the seed.
_TRAITS, _WORDS, _PICTURE, _TIMES, _PURCHASES = range(5)


class SyntheticShop:
    """A seeded shop; the same arguments give the same shop in every process."""

    kind = "synthetic"

    def __init__(self, seed: int = 0, items: int = 2000, users: int = 3000) -> None:
        """
        Raises:
            InvalidInputError: a negative seed, fewer than 50 items or no user.
        """
        for field, value, minimum in (
            ("seed", seed, 0), ("items", items, MIN_ITEMS), ("users", users, 1)
        ):  # fmt: skip
            if value < minimum:
                raise InvalidInputError.of(field, f"{value} is below {minimum}")
        self.seed = seed
        self.item_count = items
        self.user_count = users
        self.name = f"synthetic-{seed}-{items}x{users}"
        self.progress = Progress()
        self.progress.expect("items", items)
        self.progress.expect("interactions", int(self._lengths.sum()))

    def items(self) -> Iterator[ItemRecord]:
        for row in range(self.item_count):
            yield self._item(row)
            self.progress.reach("items", row + 1)

    def interactions(self) -> Iterator[InteractionRecord]:
        """User by user, oldest first; within a user no item comes twice."""
        done = 0
        for user, rows in simulate(
            self.traits, self._followed_by, self._lengths, self.seed * 8 + _PURCHASES
        ):
            rng = np.random.default_rng([self.seed, _TIMES, user])
            hours = np.cumsum(rng.integers(1, 24 * 14, size=len(rows))) + rng.integers(24 * 180)
            for row, hour in zip(rows, hours, strict=True):
                done += 1
                yield InteractionRecord(
                    user_id=f"u{user + 1:05d}",
                    item_id=_item_id(int(row)),
                    timestamp=OPENED + timedelta(hours=int(hour)),
                    event_type="purchase",
                )
            self.progress.reach("interactions", done)

    def held_out_item(self, number: int = 0) -> ItemRecord:
        """A new item in the same style that is not in the shop: for showing how one is added."""
        if number < 0:
            raise InvalidInputError.of("number", f"{number} is below 0")
        return self._item(self.item_count + number)

    @cached_property
    def traits(self) -> ItemTraits:
        """What the items are beneath words and pictures: for experiments, not for models."""
        own = np.array([self._own_traits(row) for row in range(self.item_count)])
        rng = np.random.default_rng([self.seed, _TRAITS])
        circle = rng.integers(CIRCLES, size=self.item_count)
        successor = np.full(self.item_count, -1)
        for number in range(CIRCLES):
            members = rng.permutation(np.flatnonzero(circle == number))
            within = np.arange(1, len(members)) % SERIES_LENGTH != 0
            successor[members[:-1][within]] = members[1:][within]
        rank = rng.permutation(self.item_count) + 1
        # A Mandelbrot tail: the head is flattened, or a handful of items would be sold to everyone.
        popularity = (1.0 / (rank + self.item_count / 100)) ** 0.8
        return ItemTraits(
            product=own[:, 0],
            purpose=own[:, 1],
            material=own[:, 2],
            palette=own[:, 3],
            pattern=own[:, 4],
            form=own[:, 5],
            circle=circle,
            successor=successor,
            popularity=popularity.astype(np.float32),
        )

    @cached_property
    def _lengths(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        rng = np.random.default_rng([self.seed, _TIMES])
        return rng.integers(MIN_INTERACTIONS, MAX_INTERACTIONS + 1, size=self.user_count)

    @property
    def _followed_by(self) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        keys = [product.key for product in PRODUCTS]
        return np.array([[key in product.followed_by for key in keys] for product in PRODUCTS])

    def _own_traits(self, row: int) -> tuple[int, ...]:
        """Product, purpose, material, palette, pattern and form: each independent of the others."""
        rng = np.random.default_rng([self.seed, _TRAITS, row])
        sizes = (PRODUCTS, PURPOSES, MATERIALS, PALETTES, PATTERNS, FORMS)
        return tuple(int(rng.integers(len(values))) for values in sizes)

    def _item(self, row: int) -> ItemRecord:
        number, purpose, material, palette, pattern, form = self._own_traits(row)
        product = PRODUCTS[number]
        wording = describe(
            product, purpose, material, np.random.default_rng([self.seed, _WORDS, row])
        )
        return ItemRecord(
            item_id=_item_id(row),
            title=wording.title,
            description=wording.description,
            categories=wording.categories,
            brand=wording.brand,
            attributes={"price": wording.price},
            draw_image=partial(_draw, self.seed, row, product.key, palette, pattern, form),
        )


def _item_id(row: int) -> str:
    return f"p{row + 1:05d}"


def _draw(seed: int, row: int, product: str, palette: int, pattern: int, form: int) -> bytes:
    rng = np.random.default_rng([seed, _PICTURE, row])
    return draw_product(product, palette, pattern, form, rng)
