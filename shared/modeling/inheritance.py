"""The weights of a model of other items, as those that a model of these items begins with.

What is an item's own (a row of SASRec, of E_x) goes by the item's id; an item that is new gets its
rows estimated from the items most like it (`imputation.py`), as an item that comes after training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import InvalidInputError
from shared.modeling.base_source import BaseKind
from shared.modeling.imputation import Content, impute
from shared.modeling.ranker import Ranker
from shared.modeling.sasrec import SASRec

NEW = -1
TARGET_TABLE = "fusion_head.target_table"
ITEM_EMBEDDING = "item_embedding.weight"


@dataclass(frozen=True)
class Inheritance:
    """Where I items lie in the tables of another catalogue.

    rows: [I], NEW for those that do not. content: of the I items.
    """

    rows: Tensor
    content: Content

    @classmethod
    def between(
        cls,
        former: Sequence[str],
        items: Sequence[str],
        content: Content,
        *,
        among: NDArray[np.bool_] | None = None,
    ) -> "Inheritance":
        """former: the ids of the other catalogue's rows. among: [former] the rows that count; the
        items of the others are new. All count by default."""
        place = {item: row for row, item in enumerate(former) if among is None or bool(among[row])}
        return cls(torch.tensor([place.get(item, NEW) for item in items]), content)

    @property
    def kept(self) -> Tensor:
        """[I] bool: the items that are no new ones."""
        return self.rows != NEW

    def table(self, former: Tensor) -> Tensor:
        """A table [I, D] from the other catalogue's [former, D]: new rows are estimated.

        Raises InvalidInputError where all items are new.
        """
        return impute(former[self.rows.clamp(min=0)], self.kept, self.content)


def inherited_sasrec(former: SASRec, inheritance: Inheritance) -> SASRec:
    """A SASRec of these items with the reader and the rows of `former`."""
    rows = inheritance.table(former.output_embeddings().detach())
    model = SASRec(len(rows), former.config)
    padded = F.pad(rows, (0, 0, 0, 1))
    model.load_state_dict({**former.state_dict(), ITEM_EMBEDDING: padded})
    return model.eval()


def inherited_ranker(former: Ranker, inheritance: Inheritance) -> dict[str, Tensor]:
    """What a ranker of these items begins with, by parameter: all that was trained, and the base
    where its weights exist nowhere else."""
    own_base = former.train_base or former.source.kind == BaseKind.TINY
    state = {
        name: parameter.detach().clone()
        for name, parameter in former.named_parameters()
        if parameter.requires_grad or (own_base and name.startswith("language_model."))
    }
    state[TARGET_TABLE] = inheritance.table(state[TARGET_TABLE])
    return state


def require_start(start: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises InvalidInputError where a model with these weights cannot begin with `start`."""
    for name, tensor in start.items():
        if name not in weights:
            raise InvalidInputError.of("start", f"holds {name}, which the model does not have")
        if tensor.shape != weights[name].shape:
            raise InvalidInputError.of(
                "start",
                f"has {name} as {list(tensor.shape)}, the model as {list(weights[name].shape)}",
            )
