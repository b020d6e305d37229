"""RecBole's process, seen from here."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.sasrec_training_parts.clock import Epoch
from benchmarks.sasrec_training_parts.recbole_files import NAME

PROCESS = Path(__file__).with_name("recbole_process.py")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # RecBole's checkpoints hold its config, and torch would read tensors only.
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    # Its tensors of 40 MB and more are kept when freed, not given back to the system.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


@dataclass(frozen=True)
class Fitted:
    """A training to early stopping. reported: RecBole's own figures of the test items."""

    seconds: float
    cpu_seconds: float
    epochs: int
    best_epoch: int
    validation_ndcg: float
    reported: Mapping[str, float]


class RecBolePeer:
    """One SASRec of RecBole, trained on when asked."""

    def __init__(self, commands: IO[str], answers: IO[str]) -> None:
        self._commands = commands
        self._answers = answers

    def epoch(self, share: float) -> Epoch:
        """Train this share of an epoch. Raises RuntimeError when the process has ended."""
        return Epoch(**self._ask(f"epoch {share}"))

    def fit(self, out: Path) -> Fitted:
        """Write the factors of its scores to `out`. Raises as `epoch` does."""
        return Fitted(**self._ask(f"fit {out}"))

    def _ask(self, command: str) -> dict[str, Any]:
        self._commands.write(f"{command}\n")
        self._commands.flush()
        answer = self._answers.readline()
        if not answer:
            raise RuntimeError(f"RecBole's process ended at {command!r}; see what it wrote above")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def open_recbole(python: Path, settings: Mapping[str, Any], folder: Path) -> Iterator[RecBolePeer]:
    """Start RecBole in `python`, which has it installed. folder: for what it writes."""
    file = folder / "settings.json"
    file.write_text(json.dumps({"dataset": NAME, **settings}))
    with subprocess.Popen(
        [python, PROCESS, file],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield RecBolePeer(process.stdin, process.stdout)
