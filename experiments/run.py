"""python -m experiments.run SETTINGS.yaml --data FOLDER [--seeds 3] [--output results.json]"""

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.catalogue import encode_content, read_catalogue
from experiments.pipeline import SeedResult, run_seed
from experiments.settings import read_settings
from experiments.table import markdown_table
from shared.errors import MmesidError
from shared.modeling.sequences import leave_one_out


def run(
    settings_file: Annotated[Path, typer.Argument(help="A YAML file such as small.yaml.")],
    data: Annotated[Path, typer.Option(help="A folder of data, or `synthetic`.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0 on.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Where all figures go as JSON.")] = None,
) -> None:
    """Train and evaluate popularity, SASRec and mmesid on a data set; print the table."""
    try:
        results = _run(settings_file, data, seeds, output)
    except MmesidError as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(1) from error
    typer.echo(markdown_table(results))


def _run(settings_file: Path, data: Path, seeds: int, output: Path | None) -> list[SeedResult]:
    settings = read_settings(settings_file)
    catalogue = read_catalogue(data, settings.data, _say)
    content = encode_content(catalogue, settings.encoders, _say)
    split = leave_one_out(catalogue.sequences)
    results: list[SeedResult] = []
    for seed in range(seeds):
        result = run_seed(split, len(catalogue.items), content, settings.with_seed(seed))
        results.append(result)
        spent = ", ".join(f"{stage} {s:.0f} s" for stage, s in result.seconds.items())
        _say(f"seed {seed}: {spent}")
        if output is not None:
            document = {
                "data": catalogue.name,
                "settings": settings.as_dict(),
                "seeds": {str(number): done.as_dict() for number, done in enumerate(results)},
            }
            output.write_text(json.dumps(document, indent=2) + "\n")
    return results


def _say(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    typer.run(run)
