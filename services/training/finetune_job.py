"""What one fine-tuning of the ranker reads and writes, as a file that its processes are given."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.training.stages import quantize, snapshot
from shared.errors import InvalidInputError
from shared.modeling.base_source import BaseSource
from shared.modeling.item_tables import load_item_tables
from shared.modeling.progress import OnProgress
from shared.modeling.quantizer_kinds import load_quantizer
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

    def write(self, path: Path) -> None:
        folders = {name: str(getattr(self, name)) for name in FOLDERS}
        document = {**folders, "base": asdict(self.base), "ranker": asdict(self.ranker)}
        path.write_text(json.dumps(document, indent=2))

    @classmethod
    def read(cls, path: Path) -> "FinetuneJob":
        """What `write` wrote, or someone by hand: `base` and `ranker` may leave settings out.

        Raises InvalidInputError for a file that is no such job, naming the field.
        """
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInputError.of("job", f"{path} cannot be read: {error}") from error
        known = {*FOLDERS, "base", "ranker"}
        if not isinstance(document, Mapping) or set(document) != known:
            raise InvalidInputError.of("job", f"{path} must name {', '.join(sorted(known))}")
        folders: dict[str, Any] = {name: Path(document[name]) for name in FOLDERS}
        return cls(
            **folders,
            base=overridden(BaseSource(), document["base"], "base"),
            ranker=overridden(RankerConfig(), document["ranker"], "ranker"),
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
        checkpoint_folder=job.checkpoints,
        processes=processes,
    )
    if processes.is_main:
        ranker.save(job.output)
