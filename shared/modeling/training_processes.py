"""The processes that train one ranker together, and what they tell one another.

Every process goes through the same batches in the same order. A batch is cut into parts, dealt out
to the N processes in turn: part p is that of process p mod N, which accumulates the gradients of
its parts. Each part's mean loss is weighted by its share of the batch's targets, so that the step
is that of one process with the whole batch, whoever computed which part.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shared.errors import InvalidInputError
from shared.modeling.window_batches import WindowBatch


@dataclass(frozen=True)
class BatchPart:
    """Part `number` of a batch. share: of the batch's targets, 0 where there are fewer windows than
    parts and this one only keeps the others' collective operations from waiting."""

    number: int
    batch: WindowBatch
    share: float


class TrainingProcesses:
    """`number` processes, of which this is the one with that `index`."""

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        """accelerator: None for a process that trains alone."""
        self._accelerator = accelerator
        self.number = 1 if accelerator is None else accelerator.num_processes
        self.index = 0 if accelerator is None else accelerator.process_index

    @classmethod
    def launched(cls, device: str) -> "TrainingProcesses":
        """Those that `torchrun` or `accelerate launch` started: this process joins the others.

        device: "cpu" (they talk over gloo) or "cuda" (NCCL): each takes the GPU of its local rank.

        Raises InvalidInputError for a device that names one GPU, or none that there is.
        """
        if device not in ("cpu", "cuda"):
            raise InvalidInputError.of("ranker.device", f"must be cpu or cuda, is {device}")
        if device == "cuda" and not torch.cuda.is_available():
            raise InvalidInputError.of("ranker.device", "is cuda, and torch finds no GPU")
        handlers = [
            DistributedDataParallelKwargs(
                # E_j are the same everywhere, and a form of Table 2 may leave weights out.
                broadcast_buffers=False,
                find_unused_parameters=True,
            )
        ]
        # Precision and sharding are settings of the ranker: those of the launcher do not count.
        return cls(Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=handlers))

    @property
    def is_main(self) -> bool:
        """The one process that reports and writes."""
        return self.index == 0

    def parts(self, batch: WindowBatch, accumulation: int) -> Iterator[BatchPart]:
        """This process's parts of a batch: `accumulation` of them, every process as many."""
        number = self.number * accumulation
        if number == 1:
            yield BatchPart(0, batch, 1.0)
            return
        targets = int(batch.valid.sum())
        for part in range(self.index, number, self.number):
            if part < len(batch.valid):
                # Batches are sorted by length: every number-th window makes parts of equal work.
                windows = _windows(batch, slice(part, None, number))
                yield BatchPart(part, windows, int(windows.valid.sum()) / targets)
            else:
                yield BatchPart(part, _windows(batch, slice(0, 1)), 0.0)

    def replicated(self, step: nn.Module) -> nn.Module:
        """The step with gradients that are averaged over the processes (DDP)."""
        if self._accelerator is None:
            return step
        prepared: nn.Module = self._accelerator.prepare_model(step)
        return prepared

    def accumulating(self, step: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Within it DDP keeps gradients to itself, until the last part of a batch."""
        if isinstance(step, DistributedDataParallel) and not last:
            return step.no_sync()
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes, the same for each of them."""
        if self._accelerator is None:
            return value
        total: Tensor = self._accelerator.reduce(value, "sum")
        return total

    def gather(self, rows: Tensor) -> Tensor:
        """rows [n, ...] of every process, equally many: [N, n, ...] on the CPU."""
        if self._accelerator is None:
            return rows.unsqueeze(0)
        gathered: Tensor = self._accelerator.gather(rows.to(self._accelerator.device))
        return gathered.cpu().view(self.number, *rows.shape)

    def leave(self) -> None:
        """The processes part; nothing can be exchanged after it."""
        if self._accelerator is not None:
            PartialState().destroy_process_group()


def _windows(batch: WindowBatch, rows: slice) -> WindowBatch:
    """Some of a batch's windows, without the padding that only the others need."""
    longest = int(batch.valid[rows].sum(dim=1).max())
    return replace(
        batch,
        context=batch.context[rows, :longest],
        targets=batch.targets[rows, :longest],
        valid=batch.valid[rows, :longest],
    )
