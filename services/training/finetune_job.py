"""What one fine-tuning of the ranker reads and writes, as a file that its processes are given."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from services.training.stages import quantize, snapshot
from services.training.stages.snapshot import Snapshot
from shared.artifacts.bundle import Bundle
from shared.errors import InvalidInputError
from shared.modeling.base_source import BaseSource
from shared.modeling.inheritance import Inheritance, inherited_ranker
from shared.modeling.item_tables import load_item_tables, own_content
from shared.modeling.progress import OnProgress
from shared.modeling.quantizer_kinds import load_quantizer
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.ranker_training import train_ranker
from shared.modeling.sasrec import SASRec
from shared.modeling.training_processes import TrainingProcesses
from shared.overriding import overridden

FOLDERS = (
    "snapshot", "embed", "collaborative", "sequence", "quantize", "checkpoints", "output",
)  # fmt: skip


@dataclass(frozen=True)
class FinetuneJob:
    """snapshot, embed, collaborative, sequence, quantize: what those stages of a run wrote.
    checkpoints: goes on from the one that lies there. output: where the trained ranker is written.
    parent: the bundle whose ranker training begins with, if any; its tokenizer must be that of
    `quantize`.
    """

    snapshot: Path
    embed: Path
    collaborative: Path
    sequence: Path
    quantize: Path
    checkpoints: Path
    output: Path
    base: BaseSource
    ranker: RankerConfig
    parent: Path | None = None

    def write(self, path: Path) -> None:
        folders = {name: str(getattr(self, name)) for name in FOLDERS}
        document = {**folders, "base": asdict(self.base), "ranker": asdict(self.ranker)}
        if self.parent is not None:
            document["parent"] = str(self.parent)
        path.write_text(json.dumps(document, indent=2))

    @classmethod
    def read(cls, path: Path) -> "FinetuneJob":
        """What `write` wrote, or someone by hand: `base` and `ranker` may leave settings out.
        There may be no `parent`.

        Raises InvalidInputError for a file that is no such job, naming the field.
        """
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInputError.of("job", f"{path} cannot be read: {error}") from error
        known = {*FOLDERS, "base", "ranker"}
        if not isinstance(document, Mapping) or set(document) - {"parent"} != known:
            raise InvalidInputError.of("job", f"{path} must name {', '.join(sorted(known))}")
        folders: dict[str, Any] = {name: Path(document[name]) for name in FOLDERS}
        return cls(
            **folders,
            base=overridden(BaseSource(), document["base"], "base"),
            ranker=overridden(RankerConfig(), document["ranker"], "ranker"),
            parent=Path(document["parent"]) if document.get("parent") else None,
        )


def finetune(
    job: FinetuneJob, report: OnProgress, processes: TrainingProcesses | None = None
) -> None:
    """Train, and write the ranker. Raises what `train_ranker` does.

    processes: those that do this job together; the main one reports and writes.
    """
    processes = processes or TrainingProcesses()
    data = snapshot.load_snapshot(job.snapshot)
    tables = load_item_tables(job.embed, job.collaborative)
    quantizer = load_quantizer(job.quantize)
    ranker = train_ranker(
        data.split(),
        len(data.items),
        tables.tensors(),
        quantize.load_codes(job.quantize),
        {j: quantizer.code_embeddings(j) for j in quantizer.modalities},
        job.base,
        job.ranker,
        report,
        sequence=SASRec.load(job.sequence) if job.ranker.sequence_weights else None,
        start=None if job.parent is None else _start(job.parent, data, job.embed),
        checkpoint_folder=job.checkpoints,
        processes=processes,
    )
    if processes.is_main:
        ranker.save(job.output)


def _start(parent: Path, data: Snapshot, embed: Path) -> dict[str, Tensor]:
    bundle, content = Bundle(parent), own_content(load_item_tables(embed))
    inheritance = Inheritance.between(bundle.catalogue.item_ids, data.item_ids, content)
    return inherited_ranker(Ranker.load(bundle.ranker), inheritance)
