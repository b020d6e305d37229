"""What there is at a moment: the items to rank, and the sequences to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from experiments.online_loop.timeline import Timeline
from shared.modeling.imputation import Content
from shared.modeling.item_tables import ItemTables, impute_content, own_content
from shared.modeling.sequences import ItemRows, Split, item_frequency, leave_one_out

# As in a training's snapshot: one item alone has no next one.
SHORTEST_SEQUENCE = 2


@dataclass(frozen=True)
class Items:
    """A catalogue: the first rows of a timeline's items. content: E_t and E_v [I, D_j]."""

    ids: Sequence[str]
    content: ItemTables

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def own_content(self) -> Content:
        return own_content(self.content)


@dataclass(frozen=True)
class Knowledge:
    """What a training is given. sequences: item rows, oldest first, one array a user."""

    items: Items
    sequences: Sequence[ItemRows]

    @cached_property
    def split(self) -> Split:
        return leave_one_out(self.sequences)

    @cached_property
    def frequency(self) -> NDArray[np.int64]:
        """q [I]."""
        return item_frequency(self.split, len(self.items))


def items_met(timeline: Timeline, moment: int, content: ItemTables) -> Items:
    """Those that occur before the moment. content: of all items of the timeline.

    What an item lacks is estimated from these items alone: the others are not there yet.
    """
    number = timeline.items_met(moment)
    met = ItemTables(
        {j: table[:number] for j, table in content.embeddings.items()},
        {j: mask[:number] for j, mask in content.imputed.items()},
    )
    return Items([item.item_id for item in timeline.items[:number]], impute_content(met))


def known_at(timeline: Timeline, moment: int, content: ItemTables) -> Knowledge:
    """All that happened before the moment, and nothing later."""
    sequences = [rows for rows in timeline.sequences(moment) if len(rows) >= SHORTEST_SEQUENCE]
    return Knowledge(items_met(timeline, moment, content), sequences)
