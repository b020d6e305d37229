"""What a request does not want, taken out of its scores: hidden rows, filters, seen items."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.ranking.engines.engine import Selection
from services.ranking.growing import GrowingTable


class Visible:
    """Which rows can be recommended at all: not the hidden ones, nor those that nobody has put."""

    def __init__(self, items: int, device: torch.device) -> None:
        """items: rows 0..items-1 are visible. device: where `hidden` is wanted."""
        self._device = device
        self._table = GrowingTable(torch.ones(items, dtype=torch.bool))
        self._hidden: Tensor | None = None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[n]."""
        mask: NDArray[np.bool_] = self._table.rows.numpy()
        return mask

    @property
    def hidden(self) -> Tensor:
        """The rows [h] that cannot, in order."""
        if self._hidden is None:
            self._hidden = (~self._table.rows).nonzero().squeeze(1).to(self._device)
        return self._hidden

    def put(self, rows: Tensor, visible: bool) -> None:
        """Show or hide rows [m], known or new."""
        self._table.put(rows.cpu(), torch.full((len(rows),), visible))
        self._hidden = None


def forbid(scores: Tensor, hidden: Tensor, selections: Sequence[Selection]) -> None:
    """Set the scores [B, I] of rows that may not be returned to -inf, in place.

    hidden: rows that no request may have, all below I.
    """
    items = scores.shape[1]
    if len(hidden):
        scores.index_fill_(1, hidden, -torch.inf)
    requests = np.repeat(np.arange(len(selections)), [len(own.excluded) for own in selections])
    excluded = np.concatenate([own.excluded for own in selections])
    known = excluded < items
    places = torch.from_numpy(np.stack([requests[known], excluded[known]])).to(scores.device)
    scores[places[0], places[1]] = -torch.inf
    for own, selection in zip(scores, selections, strict=True):
        if selection.allowed is not None:
            allowed = torch.from_numpy(selection.allowed[:items]).to(scores.device)
            # 1 - 1/1 = 0, 1 - 1/0 = -inf: filling by a mask takes several times as long, since the
            # processor cannot foresee the mask.
            own[: len(allowed)] += 1 - allowed.float().reciprocal_()
            own[len(allowed) :] = -torch.inf


def may_return(
    rows: NDArray[np.int64], visible: NDArray[np.bool_], selection: Selection
) -> NDArray[np.bool_]:
    """[n] bool for rows [n], each below I. visible: [I]."""
    wanted = visible[rows]
    if selection.allowed is not None:
        within = rows < len(selection.allowed)
        wanted &= within
        wanted[within] &= selection.allowed[rows[within]]
    return wanted & ~np.isin(rows, selection.excluded)


def the_few(
    visible: NDArray[np.bool_], selection: Selection, most: int
) -> NDArray[np.int64] | None:
    """All rows that may be returned, in order, where the filter leaves at most so many."""
    if selection.allowed is None or np.count_nonzero(selection.allowed) > most:
        return None
    rows = np.flatnonzero(selection.allowed[: len(visible)])
    return rows[may_return(rows, visible, selection)]
