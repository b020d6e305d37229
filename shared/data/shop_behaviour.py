"""Who buys what, and in which order, in the synthetic shop.

Item i is drawn with a probability proportional to

    popularity_i * text_i * visual_i * circle_i * followed_i * series_i

where text_i rewards the user's purposes and material, visual_i the user's colours, pattern and
form, circle_i the user's circle, followed_i a product that goes well after the last one, and
series_i the item that comes next in the last one's series. Users differ in how much each counts.
Text is seen in the words only, visual in the picture only, circle and series in behaviour only; the
product is seen in words and picture both.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ItemTraits:
    """What the items are, hidden from the models; every array is [I]."""

    product: Ints
    purpose: Ints
    material: Ints
    palette: Ints
    pattern: Ints
    form: Ints
    circle: Ints
    successor: Ints  # the next item of the same series, -1 at its end
    popularity: Floats


@dataclass(frozen=True)
class Strength:
    """How many times likelier a match makes an item, for a user to whom it counts fully."""

    purpose: float = 80.0
    second_purpose: float = 10.0
    material: float = 6.0
    palette: float = 60.0
    second_palette: float = 8.0
    pattern: float = 8.0
    form: float = 3.0
    circle: float = 60.0
    followed: float = 5.0
    series: float = 200.0


USERS_A_BLOCK = 256
# How much text, picture and circle count: for most users one of the three leads.
_LEADING, _FOLLOWING = 1.0, 0.55


def next_item_weights(
    traits: ItemTraits, rng: np.random.Generator, users: int, strength: Strength
) -> Floats:
    """The part of the weights that stays the same along a sequence, [users, I]."""
    counts = np.full((users, 3), _FOLLOWING)
    counts[np.arange(users), rng.integers(3, size=users)] = _LEADING
    text, visual, circle = counts.T
    weights = np.repeat(traits.popularity[None, :], users, axis=0)

    def reward(trait: Ints, matches: tuple[float, ...], importance: NDArray[np.float64]) -> None:
        """Multiply by match**importance where the item has one of the values the user likes."""
        values = int(trait.max()) + 1
        liked = rng.permuted(np.tile(np.arange(values), (users, 1)), axis=1)
        table = np.ones((users, values), dtype=np.float32)
        for place, match in enumerate(matches[:values]):
            table[np.arange(users), liked[:, place]] = match**importance
        np.multiply(weights, table[:, trait], out=weights)

    reward(traits.purpose, (strength.purpose, strength.second_purpose), text)
    reward(traits.material, (strength.material,), text)
    reward(traits.palette, (strength.palette, strength.second_palette), visual)
    reward(traits.pattern, (strength.pattern,), visual)
    reward(traits.form, (strength.form,), visual)
    reward(traits.circle, (strength.circle,), circle)
    return weights


def simulate(
    traits: ItemTraits,
    followed_by: NDArray[np.bool_],
    lengths: Ints,
    seed: int,
    strength: Strength | None = None,
) -> Iterator[tuple[int, Ints]]:
    """User number and item rows, oldest first, no item twice.

    `followed_by` [P, P] says which products go well after which; `lengths` [U] how many items each
    user buys.
    """
    strength = strength or Strength()
    after = np.where(followed_by, np.float32(strength.followed), np.float32(1.0))
    for start in range(0, len(lengths), USERS_A_BLOCK):
        block = lengths[start : start + USERS_A_BLOCK]
        rng = np.random.default_rng([seed, start])
        weights = next_item_weights(traits, rng, len(block), strength)
        bought = _walk(traits, weights, after, int(block.max()), strength.series, rng)
        for row, length in enumerate(block):
            yield start + row, bought[row, :length]


def _walk(
    traits: ItemTraits,
    weights: Floats,
    after: Floats,
    steps: int,
    series: float,
    rng: np.random.Generator,
) -> Ints:
    """Draw `steps` items a user, [users, steps]; `weights` is used up."""
    users = np.arange(len(weights))
    bought = np.empty((len(weights), steps), dtype=np.int64)
    for step in range(steps):
        now = weights
        if step:
            last = bought[:, step - 1]
            now = weights * after[traits.product[last]][:, traits.product]
            following = traits.successor[last]
            has_next = following >= 0
            now[users[has_next], following[has_next]] *= series
        # The smallest of exponential waiting times falls to i in proportion to its weight.
        waiting = rng.standard_exponential(now.shape, dtype=np.float32)
        chosen = np.argmax(now / np.maximum(waiting, np.float32(1e-30)), axis=1)
        bought[:, step] = chosen
        weights[users, chosen] = 0.0
    return bought
