"""What is measured: passed to the process that measures, and back, as JSON."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

WorkloadName = Literal["new", "returning"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Document):
    """One way over one bundle, in a process of its own."""

    way: str
    bundle: Path
    cache: Path
    items: int
    history: int
    workloads: tuple[WorkloadName, ...]
    concurrency: tuple[int, ...]
    seconds: float
    requests: int
    longest_s: float
    threads: int | None
    device: str
    profile: bool


class Speed(_Document):
    """latencies: None where too few requests came back to say."""

    workload: WorkloadName
    concurrency: int
    requests: int
    per_s: float
    p50_ms: float | None
    p99_ms: float | None


class Outcome(_Document):
    """speeds: what was measured. missing: in words, what was not, and why.

    memory_bytes: of the process and its children, after the measurement; a GPU's memory is not in
    it. probes: the best rows of a few histories, the same histories for every way. profile: text.
    """

    speeds: tuple[Speed, ...] = ()
    missing: tuple[str, ...] = ()
    memory_bytes: int | None = None
    probes: tuple[tuple[int, ...], ...] = ()
    profile: str | None = None


class Measurement(_Document):
    """An outcome and what it is of. target_bytes: the model, two tables and 1 GB."""

    shape: str
    items: int
    way: str
    target_bytes: int
    outcome: Outcome
