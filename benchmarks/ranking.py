"""Ranking requests a second: our engines against how such a model is usually run.

    python -m benchmarks.ranking                     all shapes but llama3-8b, over an hour
    python -m benchmarks.ranking --shape small --items 12086 --ways ours,b,c --seconds 3
    python -m benchmarks.ranking --shape small --profile

One run, one machine, the same made-up model for every way, each in a process of its own, one after
the other. docs/benchmarks.md says what the ways are.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from pydantic import TypeAdapter

from benchmarks.choices import words_of
from benchmarks.ranking_parts.machine import machine_line
from benchmarks.ranking_parts.made_up_bundle import MadeUp, write_made_up_bundle
from benchmarks.ranking_parts.plan import Measurement, Outcome, Task, WorkloadName
from benchmarks.ranking_parts.report import results_section
from benchmarks.ranking_parts.shapes import Shape, shape_of, with_checkpoint
from benchmarks.ranking_parts.ways import DESCRIPTIONS, OURS

SHOP, BIG, HUGE = 12_086, 100_000, 1_000_000
USUAL = (("tiny", SHOP), ("small", SHOP), ("smollm2", SHOP), ("small", BIG), ("small", HUGE))
ALL_WAYS = "ours,a,b,c,floor"
PEER_ONE_BY_ONE = "a"
LOADING_S = 1200


def main(
    shape: Annotated[str, typer.Option(help="names of shapes; without it, the usual ones")] = "",
    items: Annotated[str, typer.Option(help="sizes of catalogues, for --shape")] = str(SHOP),
    ways: Annotated[str, typer.Option(help="of: vllm, transformers, ours, a, b, c, floor")] = (
        ALL_WAYS
    ),
    concurrency: Annotated[str, typer.Option(help="requests in flight")] = "1,8,32",
    workloads: Annotated[str, typer.Option(help="of: new, returning")] = "new,returning",
    seconds: Annotated[float, typer.Option(help="of a measurement", min=0.1)] = 10.0,
    requests: Annotated[int, typer.Option(help="of a measurement, at most", min=1)] = 5000,
    longest: Annotated[float, typer.Option(help="seconds a slow one may take", min=1)] = 90.0,
    threads: Annotated[int | None, typer.Option(help="of torch, in every way", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    profile: Annotated[bool, typer.Option(help="only where our transformers spend time")] = False,
    json: Annotated[Path | None, typer.Option(help="write the measurements here")] = None,
) -> None:
    """Print the tables of every shape and catalogue."""
    names = tuple(cast(WorkloadName, word) for word in words_of(workloads, get_args(WorkloadName)))
    counts = tuple(int(word) for word in concurrency.split(","))
    chosen = ("transformers",) if profile else _ways(ways)
    print(f"{machine_line(threads)}\n", flush=True)
    measured: list[Measurement] = []
    for shape_name, size in _sizes(shape, items):
        with tempfile.TemporaryDirectory(prefix="mmesid-benchmark-") as work:
            made = _make(Path(work), shape_of(shape_name), size)
            group = []
            for way in chosen:
                _say(f"{shape_name}, {size:,} items: {way}")
                task = Task(
                    way=way,
                    bundle=made.bundle.folder,
                    cache=Path(work) / "base-models",
                    items=size,
                    history=shape_of(shape_name).history,
                    workloads=("new",) if profile else names,
                    concurrency=(1,) if way == PEER_ONE_BY_ONE and size > SHOP else counts,
                    seconds=seconds,
                    requests=requests,
                    longest_s=longest,
                    threads=threads,
                    device=device,
                    profile=profile,
                )
                outcome = _in_a_process(task, Path(work))
                group.append(
                    Measurement(
                        shape=shape_name,
                        items=size,
                        way=way,
                        target_bytes=made.llm_bytes + 2 * made.table_bytes + 10**9,
                        outcome=outcome,
                    )
                )
        if profile:
            print(f"## {shape_name}, {size:,} items\n\n{group[0].outcome.profile}\n", flush=True)
        else:
            print(f"{results_section(group)}\n", flush=True)
        measured += group
    if json is not None:
        json.write_bytes(TypeAdapter(list[Measurement]).dump_json(measured, indent=2))


def _make(work: Path, shape: Shape, items: int) -> MadeUp:
    return write_made_up_bundle(work / "bundle", with_checkpoint(shape, work / "checkpoint"), items)


def _in_a_process(task: Task, work: Path) -> Outcome:
    """What the process found, or in words why it found nothing."""
    order, found, log = work / "task.json", work / f"{task.way}.json", work / f"{task.way}.log"
    order.write_text(task.model_dump_json())
    measurements = len(task.workloads) * len(task.concurrency)
    with log.open("wb") as output:
        try:
            subprocess.run(
                [sys.executable, "-m", "benchmarks.ranking_parts.measuring", order, found],
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LOADING_S + measurements * task.longest_s,
                check=True,
            )
        except subprocess.SubprocessError as error:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            return Outcome(missing=(f"not measured: {error} {' '.join(last)}",))
    return Outcome.model_validate_json(found.read_text())


def _sizes(shapes: str, items: str) -> Iterator[tuple[str, int]]:
    if not shapes:
        yield from USUAL
        return
    for name in shapes.split(","):
        for size in items.split(","):
            yield name, int(size)


def _ways(text: str) -> tuple[str, ...]:
    words = words_of(text, ("ours", *DESCRIPTIONS))
    wanted = {way for word in words for way in (OURS if word == "ours" else (word,))}
    return tuple(way for way in DESCRIPTIONS if way in wanted)


def _say(words: str) -> None:
    """Progress, apart from the tables."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
