import hashlib
import io
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from shared.data.records import InteractionRecord, ItemRecord
from shared.data.sequences import build_sequences
from shared.data.shop_pictures import FORMS, IMAGE_SIZE, PALETTES, PATTERNS, draw_product
from shared.data.shop_words import BRANDS, PRODUCTS
from shared.data.synthetic import CIRCLES, SyntheticShop
from shared.errors import InvalidInputError

FINGERPRINT = """
import hashlib
from shared.data.synthetic import SyntheticShop
shop = SyntheticShop(seed=3, items=200, users=300)
digest = hashlib.sha256()
for number, item in enumerate(shop.items()):
    digest.update(f"{item.item_id}{item.title}{item.description}{item.attributes}".encode())
    if number < 20:
        digest.update(item.read_image())
for row in shop.interactions():
    digest.update(f"{row.user_id}{row.item_id}{row.timestamp}".encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def shop() -> SyntheticShop:
    return SyntheticShop()


@pytest.fixture(scope="module")
def items(shop: SyntheticShop) -> list[ItemRecord]:
    return list(shop.items())


@pytest.fixture(scope="module")
def sequences(shop: SyntheticShop) -> list[list[int]]:
    """Item rows, oldest first, a user each."""
    by_user = build_sequences(shop.interactions())
    return [[int(item_id[1:]) - 1 for item_id in sequence] for sequence in by_user.values()]


@pytest.fixture(scope="module")
def frequency(sequences: list[list[int]]) -> np.ndarray:
    """How often each item was bought, [I]."""
    return np.bincount(np.concatenate(sequences), minlength=2000)


def test_the_same_seed_gives_the_same_shop_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINT],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_another_seed_gives_another_shop() -> None:
    first, second = SyntheticShop(1, 60, 5), SyntheticShop(2, 60, 5)
    assert [item.title for item in first.items()] != [item.title for item in second.items()]
    assert list(first.interactions()) != list(second.interactions())


def test_a_shop_can_be_read_twice() -> None:
    shop = SyntheticShop(items=60, users=20)
    assert list(shop.items()) == list(shop.items())
    assert list(shop.interactions()) == list(shop.interactions())
    assert shop.progress.fraction == 1.0


def test_the_shop_has_the_size_asked_for(
    items: list[ItemRecord], sequences: list[list[int]]
) -> None:
    assert len(items) == len({item.item_id for item in items}) == 2000
    assert len(sequences) == 3000
    lengths = [len(sequence) for sequence in sequences]
    assert min(lengths) >= 8
    assert max(lengths) <= 12
    assert 9.5 < np.mean(lengths) < 10.5


def test_nobody_buys_an_item_twice(sequences: list[list[int]]) -> None:
    assert all(len(set(sequence)) == len(sequence) for sequence in sequences)


def test_times_of_a_user_rise(shop: SyntheticShop) -> None:
    last: dict[str, InteractionRecord] = {}
    for row in shop.interactions():
        if row.user_id in last:
            assert row.timestamp > last[row.user_id].timestamp
        last[row.user_id] = row


def test_popularity_has_a_long_tail(frequency: np.ndarray) -> None:
    falling = np.sort(frequency)[::-1] / frequency.sum()
    assert 0.25 < falling[:200].sum() < 0.5
    assert falling[1000:].sum() > 0.15
    assert falling[0] < 0.01


def test_every_item_has_words_and_a_price(items: list[ItemRecord]) -> None:
    for item in items:
        assert item.brand in BRANDS
        assert item.brand in item.title
        assert item.description.endswith(".")
        assert len(item.categories) == 2
        price = item.attributes["price"]
        assert isinstance(price, float)
        assert price > 5
    assert len({item.title for item in items}) > 1990


def test_pictures_decode(items: list[ItemRecord]) -> None:
    pictures = [item.read_image() for item in items[:200]]
    assert len(set(pictures)) == 200
    for picture in pictures:
        assert picture is not None
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            assert image.size == (IMAGE_SIZE, IMAGE_SIZE)
            assert image.mode == "RGB"


@pytest.mark.parametrize("product", [product.key for product in PRODUCTS])
def test_each_trait_of_the_picture_changes_it(product: str) -> None:
    def drawn(palette: int, pattern: int, form: int) -> str:
        picture = draw_product(product, palette, pattern, form, np.random.default_rng(5))
        return hashlib.sha256(picture).hexdigest()

    seen = {drawn(palette, 0, 0) for palette in range(len(PALETTES))}
    seen |= {drawn(0, pattern, 1) for pattern in range(len(PATTERNS))}
    assert len(seen) == len(PALETTES) + len(PATTERNS)
    assert len({drawn(1, 1, form) for form in range(len(FORMS))}) == 2


def test_words_do_not_tell_what_only_the_picture_or_behaviour_shows(shop: SyntheticShop) -> None:
    colours = {"red", "blue", "green", "yellow", "black", "pink", "purple", "orange"}
    for item in shop.items():
        words = {word.strip(".,;:").lower() for word in f"{item.title} {item.description}".split()}
        assert not words & (colours | set(PATTERNS) | set(FORMS))


def lift(trait: np.ndarray, sequences: list[list[int]], frequency: np.ndarray) -> float:
    """How much likelier than by chance a user's last item shares the trait of an earlier one."""
    share = np.bincount(trait, weights=frequency) / frequency.sum()
    meeting = np.mean([np.mean(trait[s[:-1]] == trait[s[-1]]) for s in map(np.array, sequences)])
    return float(meeting / (share**2).sum())


@pytest.mark.parametrize(
    ("trait", "least"), [("purpose", 1.5), ("palette", 1.5), ("circle", 2.0), ("pattern", 1.1)]
)
def test_users_stay_true_to_their_taste(
    shop: SyntheticShop, sequences: list[list[int]], frequency: np.ndarray, trait: str, least: float
) -> None:
    assert lift(getattr(shop.traits, trait), sequences, frequency) > least


def test_an_independent_trait_shows_no_taste(
    shop: SyntheticShop, sequences: list[list[int]], frequency: np.ndarray
) -> None:
    shuffled = np.random.default_rng(0).permutation(shop.traits.purpose)
    assert 0.9 < lift(shuffled, sequences, frequency) < 1.1


def test_the_next_item_of_a_series_follows_often(
    shop: SyntheticShop, sequences: list[list[int]]
) -> None:
    successor = shop.traits.successor
    pairs = [pair for sequence in sequences for pair in pairwise(sequence)]
    followed = np.mean([successor[first] == second for first, second in pairs])
    backwards = np.mean([successor[second] == first for first, second in pairs])
    assert followed > 0.05
    assert backwards < followed / 5


def test_series_lie_within_a_circle(shop: SyntheticShop) -> None:
    traits = shop.traits
    starts = np.flatnonzero(traits.successor >= 0)
    assert len(starts) > 1000
    assert (traits.circle[starts] == traits.circle[traits.successor[starts]]).all()
    assert len(set(traits.circle)) == CIRCLES
    assert max(Counter(traits.successor[starts].tolist()).values()) == 1


def test_a_held_out_item_is_new_and_complete(shop: SyntheticShop, items: list[ItemRecord]) -> None:
    known = {item.item_id for item in items}
    new = [shop.held_out_item(number) for number in range(3)]
    assert len({item.item_id for item in new} - known) == 3
    assert all(item.title and item.read_image() for item in new)
    # The same item is there when the shop is one larger: it is drawn from the same source.
    assert list(SyntheticShop(items=2001, users=1).items())[-1] == new[0]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [("seed", {"seed": -1}), ("items", {"items": 49}), ("users", {"users": 0})],
)
def test_a_shop_of_nothing_is_refused(field: str, arguments: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=field):
        SyntheticShop(**arguments)


def test_a_small_shop_has_items_for_everyone() -> None:
    assert all(
        len(sequence) >= 8
        for sequence in build_sequences(SyntheticShop(items=50, users=30).interactions()).values()
    )
