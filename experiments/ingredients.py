"""What several rows are made of, computed once for a data set and a seed and kept on disk.

    work/ingredients/<what>-<fingerprint>/     E_t and E_v; SASRec with E_c; semantic IDs

The fingerprint is that of everything the ingredient depends on.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from experiments.catalogue import Catalogue, Say, encode_content
from experiments.cold_items import with_cold_items
from experiments.settings import Settings
from shared.modeling.item_tables import (
    ItemTables,
    impute_collaborative,
    load_item_tables,
    save_item_tables,
)
from shared.modeling.modality import Modality
from shared.modeling.progress import OnProgress
from shared.modeling.quantizer import Quantizer
from shared.modeling.quantizer_config import quantizer_config
from shared.modeling.quantizer_kinds import load_quantizer, train_quantizer
from shared.modeling.sasrec import SASRec, train_sasrec
from shared.modeling.sequences import item_frequency, leave_one_out
from shared.overriding import overridden

SECONDS_FILE = "seconds.json"

# Goes up when models are trained in another way or a result holds more: what was kept of the
# former way, but for the content, is computed anew.
TRAINING_VERSION = 6

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Timed(Generic[Thing]):
    """seconds: what computing it took, whenever that was."""

    thing: Thing
    seconds: float


class Ingredients:
    """Of one data set; `work` keeps them between calls."""

    def __init__(
        self,
        catalogue: Catalogue,
        settings: Settings,
        work: Path,
        say: Say,
        *,
        device: str = "cpu",
    ) -> None:
        """device: where models are trained and scored; what is kept may come from another."""
        self.catalogue = catalogue
        self.settings = settings
        self.device = device
        self.number_of_items = len(catalogue.items)
        split = leave_one_out(catalogue.sequences)
        self.split = with_cold_items(split, self.number_of_items, settings.data.cold_share)
        self.frequency = item_frequency(self.split, self.number_of_items)
        self.work = work
        self._say = say
        self.data_fingerprint = _fingerprint(
            [[item.item_id for item in catalogue.items], *map(np.ndarray.tolist, self.split.train)]
        )
        self.content = self._content()

    def sasrec(
        self, changes: Mapping[str, Any], seed: int, on_progress: OnProgress
    ) -> Timed[SASRec]:
        """The collaborative model; `changes` to the settings' one."""
        config = overridden(self.settings.collaborative, changes, "collaborative")
        config = replace(config, seed=seed)
        content = self.content.tensors()
        # Content is what the encoders make of the data.
        encoders = asdict(self.settings.encoders) if config.start == "content" else None

        def compute(folder: Path) -> None:
            train_sasrec(
                self.split,
                self.number_of_items,
                config,
                on_progress,
                content=content,
                device=self.device,
            ).save(folder)

        depends_on = [TRAINING_VERSION, asdict(config), encoders]
        kept = self._kept("sasrec", depends_on, compute, SASRec.load)
        return replace(kept, thing=kept.thing.to(self.device))

    def embeddings(
        self,
        modalities: tuple[Modality, ...],
        changes: Mapping[str, Any],
        seed: int,
        on_progress: OnProgress,
    ) -> dict[Modality, Tensor]:
        """E_j [I, D_j] of those of the modalities that the data has; `changes` as in `sasrec`.

        The rows of E_c of items that nobody met are estimated from their content.
        """
        tables: dict[Modality, Tensor] = {}
        if Modality.COLLABORATIVE in modalities:
            trained = self.sasrec(changes, seed, on_progress).thing
            collaborative = trained.collaborative_embeddings().numpy()
            if self.content.embeddings:
                collaborative = impute_collaborative(
                    collaborative, self.frequency == 0, self.content
                )
            tables[Modality.COLLABORATIVE] = torch.from_numpy(collaborative)
        content = self.content.tensors()
        return tables | {j: table for j, table in content.items() if j in modalities}

    def quantizer(
        self,
        embeddings: Mapping[Modality, Tensor],
        changes: Mapping[str, Any],
        seed: int,
        on_progress: OnProgress,
    ) -> Timed[Quantizer]:
        """The trained quantizer of these embeddings; `changes` to the settings' quantizer."""
        config = quantizer_config(self.settings.quantizer, changes, "quantizer")
        config = replace(config, seed=seed)
        sums = {modality: _digest_of(table) for modality, table in embeddings.items()}

        def compute(folder: Path) -> None:
            train_quantizer(embeddings, config, on_progress, device=self.device).save(folder)

        return self._kept(
            "quantizer", [TRAINING_VERSION, asdict(config), sums], compute, load_quantizer
        )

    def _content(self) -> ItemTables:
        def compute(folder: Path) -> None:
            save_item_tables(
                encode_content(self.catalogue, self.settings.encoders, self._say), folder
            )

        return self._kept(
            "content", asdict(self.settings.encoders), compute, load_item_tables
        ).thing

    def _kept(
        self,
        what: str,
        depends_on: Any,
        compute: Callable[[Path], object],
        load: Callable[[Path], Thing],
    ) -> Timed[Thing]:
        name = f"{what}-{_fingerprint([self.data_fingerprint, depends_on])}"
        folder = self.work / "ingredients" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be computing the same thing: it is waited for.
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                with TemporaryDirectory(dir=folder.parent, prefix="unfinished-") as unfinished:
                    part = Path(unfinished) / what
                    part.mkdir()
                    started = time.monotonic()
                    compute(part)
                    (part / SECONDS_FILE).write_text(json.dumps(time.monotonic() - started))
                    part.rename(folder)
        return Timed(load(folder), json.loads((folder / SECONDS_FILE).read_text()))


def _fingerprint(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _digest_of(table: Tensor) -> str:
    return hashlib.sha256(table.contiguous().numpy().tobytes()).hexdigest()
