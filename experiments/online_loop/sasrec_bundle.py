"""The collaborative model alone. A warm start is that of the platform's training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.online_loop.knowledge import Items, Knowledge
from shared.modeling.drift import mean_cosine
from shared.modeling.evaluation import Scorer
from shared.modeling.inheritance import Inheritance, inherited_sasrec
from shared.modeling.item_tables import impute_collaborative
from shared.modeling.modality import Modality
from shared.modeling.sasrec import SASRec, train_sasrec
from shared.modeling.sasrec_config import SASRecConfig


@dataclass(frozen=True)
class SASRecBundle:
    """learned: [I], the items whose rows came from interactions. device: where it is trained and
    ranks; it lies on the CPU."""

    items: Items
    model: SASRec
    learned: NDArray[np.bool_]
    device: str

    @classmethod
    def trained(
        cls, known: Knowledge, config: SASRecConfig, device: str, former: Self | None = None
    ) -> Self:
        """former: the one to start from; without, from nothing."""
        model = train_sasrec(
            known.split,
            len(known.items),
            config,
            content=known.items.content.tensors(),
            device=device,
            warm=None if former is None else former.grown(known.items),
        )
        return cls(known.items, model.to("cpu"), known.frequency > 0, device)

    def grown(self, items: Items) -> SASRec:
        """Over these items: rows that nobody's interactions made are estimated from content."""
        inheritance = Inheritance.between(
            self.items.ids, items.ids, items.own_content, among=self.learned
        )
        return inherited_sasrec(self.model, inheritance)

    def scorer(self, items: Items) -> Scorer:
        return self.grown(items).to(self.device).score

    def retrained(self, known: Knowledge) -> Self:
        return self.trained(known, self.model.config, self.device, former=self)

    def kept_from(self, former: Self) -> Mapping[str, Mapping[str, float]]:
        both = torch.from_numpy(former.learned & self.learned[: len(former.learned)])
        before, now = (b.model.collaborative_embeddings() for b in (former, self))
        cosine = mean_cosine(before[both], now[: len(before)][both])
        return {"cosine_kept": {Modality.COLLABORATIVE.value: cosine}}

    def collaborative_embeddings(self) -> Tensor:
        """E_c [I, D]; of items that nobody met it is estimated from their content."""
        table = self.model.collaborative_embeddings().numpy()
        return torch.from_numpy(impute_collaborative(table, ~self.learned, self.items.content))
