"""The product's model: SASRec -> MM-RQ-VAE -> ranker, and a second SASRec beside it.

A warm start is that of the platform's training: both SASRecs and the ranker go on from their own
weights, and the quantizer is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from torch import Tensor

from experiments.online_loop.knowledge import Items, Knowledge
from experiments.online_loop.sasrec_bundle import SASRecBundle
from shared.modeling.base_source import BaseSource
from shared.modeling.drift import share_of_kept_codes
from shared.modeling.evaluation import Scorer
from shared.modeling.grown_ranker import grown_scorer
from shared.modeling.inheritance import Inheritance, inherited_ranker
from shared.modeling.modality import Modality
from shared.modeling.quantizer import Quantizer
from shared.modeling.quantizer_config import QuantizerConfig
from shared.modeling.quantizer_kinds import train_quantizer
from shared.modeling.ranker import Ranker, load_for_serving
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec_config import SASRecConfig


@dataclass(frozen=True)
class Recipe:
    """collaborative: of the SASRec that gives E_c; sequence: of the one beside the ranker.
    rankers: a folder that a bundle's ranker is written into, as a training does."""

    collaborative: SASRecConfig
    sequence: SASRecConfig
    quantizer: QuantizerConfig
    base: BaseSource
    ranker: RankerConfig
    device: str
    rankers: Path


@dataclass(frozen=True)
class MmesidBundle:
    """codes: [I, L] a modality. ranker: the folder of the saved one."""

    recipe: Recipe
    collaborative: SASRecBundle
    sequence: SASRecBundle
    quantizer: Quantizer
    codes: Mapping[Modality, Tensor]
    ranker: Path

    @classmethod
    def trained(cls, known: Knowledge, recipe: Recipe, former: Self | None = None) -> Self:
        """former: the one to start from; without, from nothing."""
        collaborative = SASRecBundle.trained(
            known,
            recipe.collaborative,
            recipe.device,
            None if former is None else former.collaborative,
        )
        sequence = SASRecBundle.trained(
            known, recipe.sequence, recipe.device, None if former is None else former.sequence
        )
        embeddings = {
            Modality.COLLABORATIVE: collaborative.collaborative_embeddings(),
            **known.items.content.tensors(),
        }
        if former is None:
            made = train_quantizer(embeddings, recipe.quantizer, device=recipe.device)
            quantizer = made.to("cpu")
        else:
            quantizer = former.quantizer
        codes = quantizer.codes(embeddings)
        ranker = train_ranker(
            known.split,
            len(known.items),
            embeddings,
            codes,
            {j: quantizer.code_embeddings(j) for j in quantizer.modalities},
            recipe.base,
            replace(recipe.ranker, device=recipe.device),
            sequence=sequence.model,
            start=None if former is None else former._start(known.items),
        )
        folder = Path(mkdtemp(dir=recipe.rankers))
        ranker.save(folder)
        return cls(recipe, collaborative, sequence, quantizer, codes, folder)

    def scorer(self, items: Items) -> Scorer:
        return grown_scorer(
            load_for_serving(self.ranker),
            self.quantizer,
            self._inheritance(items),
            items.content.tensors(),
            self.recipe.device,
        )

    def retrained(self, known: Knowledge) -> Self:
        return self.trained(known, self.recipe, former=self)

    def kept_from(self, former: Self) -> Mapping[str, Mapping[str, float]]:
        kept = {
            j.value: share_of_kept_codes(before, self.codes[j][: len(before)])
            for j, before in former.codes.items()
        }
        return {"sids_kept": kept, **self.collaborative.kept_from(former.collaborative)}

    def _start(self, items: Items) -> Mapping[str, Tensor]:
        return inherited_ranker(Ranker.load(self.ranker), self._inheritance(items))

    def _inheritance(self, items: Items) -> Inheritance:
        return Inheritance.between(self.collaborative.items.ids, items.ids, items.own_content)
