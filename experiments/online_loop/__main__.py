"""python -m experiments.online_loop --data FOLDER [--every 5000] [--model mmesid]"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from experiments.ingredients import Ingredients
from experiments.method import TABLES, read_method
from experiments.online_loop.bundle import Train
from experiments.online_loop.measuring import measured
from experiments.online_loop.mmesid_bundle import MmesidBundle, Recipe
from experiments.online_loop.replay import Plan, Slice, replay
from experiments.online_loop.report import loop_figure, loop_report
from experiments.online_loop.sasrec_bundle import SASRecBundle
from experiments.online_loop.timeline import Timeline, read_timeline
from experiments.settings import Settings, read_settings
from shared.errors import MmesidError
from shared.modeling.sasrec_config import SASRecConfig
from shared.overriding import overridden
from shared.plots import write_figure

DEFAULT_SETTINGS = Path(__file__).parent.parent / "online_loop.yaml"


class Model(StrEnum):
    SASREC = "sasrec"
    MMESID = "mmesid"


# As the platform trains them by default: rows of the paper's table.
ROWS: Mapping[Model, str] = {
    Model.SASREC: "11_sasrec_from_content",
    Model.MMESID: "12_mmesid",
}


def online_loop(
    data: Annotated[Path, typer.Option(help="A folder of data whose interactions have times.")],
    every: Annotated[int, typer.Option(min=1, help="Events between two trainings.")] = 5_000,
    model: Annotated[Model, typer.Option(help="What is trained.")] = Model.SASREC,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    full: Annotated[
        bool, typer.Option("--full/--without-full", help="Also retrain from nothing every time.")
    ] = True,
    targets: Annotated[int, typer.Option(min=1, help="At most so many of a slice.")] = 5_000,
    seed: Annotated[int, typer.Option(min=0, help="Of trainings and drawn targets.")] = 0,
    settings: Annotated[Path, typer.Option(help="A YAML file such as small.yaml.")] = (
        DEFAULT_SETTINGS
    ),
    work: Annotated[Path, typer.Option(help="Keeps E_t and E_v, and takes the report.")] = Path(
        "experiment-runs"
    ),
) -> None:
    """Replay the last 20 % of the events with and without retraining; print and keep the table,
    and draw the curves. What is finished is written after every slice."""
    try:
        plan = Plan(every=every, targets=targets, full=full, seed=seed)
        typer.echo(_run(data, read_settings(settings), plan, model, device, work))
    except MmesidError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(1) from error


def _run(data: Path, settings: Settings, plan: Plan, model: Model, device: str, work: Path) -> str:
    timeline = read_timeline(data, settings.data, _say)
    content = Ingredients(timeline.catalogue(), settings, work, _say).content
    about = {
        "data": timeline.name,
        "model": model.value,
        "device": device,
        "plan": asdict(plan),
        "settings": settings.as_dict(),
        "events": len(timeline),
    }
    text, done = "", list[Slice]()
    with TemporaryDirectory(dir=work, prefix="rankers-") as rankers:
        train = _training(model, settings, plan.seed, device, Path(rankers))
        for one in replay(timeline, content, plan, train, _say):
            done.append(one)
            text = _write(timeline, done, about, work / f"online-loop-{model}-{timeline.name}")
    return text


def _write(timeline: Timeline, done: list[Slice], about: Mapping[str, object], stem: Path) -> str:
    document = measured(timeline, done)
    text = loop_report(document)
    newest = document["slices"][-1]
    curves = (f"{curve} {own['all']['ndcg@10']:.4f}" for curve, own in newest["curves"].items())
    _say(f"events {newest['events'][0]} to {newest['events'][1]}: nDCG@10 {', '.join(curves)}")
    stem.with_suffix(".json").write_text(json.dumps({**about, **document}, indent=2) + "\n")
    stem.with_suffix(".md").write_text(text)
    write_figure(loop_figure(document), stem.with_suffix(".png"))
    return text


def _training(model: Model, settings: Settings, seed: int, device: str, rankers: Path) -> Train:
    """A training from nothing, with the settings and what the model's row of the table changes."""
    row = read_method(TABLES / "table3" / f"{ROWS[model]}.yaml")

    def sasrec(changes: Mapping[str, object]) -> SASRecConfig:
        config: SASRecConfig = overridden(settings.collaborative, changes, "collaborative")
        return replace(config, seed=seed)

    if model == Model.SASREC:
        config = sasrec(row.collaborative)
        return lambda known: SASRecBundle.trained(known, config, device)
    recipe = Recipe(
        collaborative=sasrec(row.collaborative),
        sequence=sasrec(row.sequence),
        quantizer=replace(settings.quantizer, seed=seed),
        base=settings.base,
        ranker=replace(overridden(settings.ranker, row.ranker, "ranker"), seed=seed),
        device=device,
        rankers=rankers,
    )
    return lambda known: MmesidBundle.trained(known, recipe)


def _say(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    typer.run(online_loop)
