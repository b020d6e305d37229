"""What the loop asks of the two models."""

from collections.abc import Callable, Mapping
from typing import Protocol, Self

from experiments.online_loop.knowledge import Items, Knowledge
from shared.modeling.evaluation import Scorer


class Bundle(Protocol):
    """What one training made. It is not changed by what it is asked."""

    def scorer(self, items: Items) -> Scorer:
        """Over a catalogue that begins with the bundle's own items."""
        ...

    def retrained(self, known: Knowledge) -> Self:
        """The next one, warm: from this one's weights."""
        ...

    def kept_from(self, former: Self) -> Mapping[str, Mapping[str, float]]:
        """What became of the items of the one before, as a training reports it: `cosine_kept` of
        E_c, and `sids_kept` where there are semantic IDs, by modality."""
        ...


# Cold: from nothing.
Train = Callable[[Knowledge], Bundle]
