"""What one command computes and draws: a table (a folder of rows), or a figure of the paper.

figures/<name>.yaml     rows: [table3/10_mme_sid, ...]     of the tables, none is written twice
                        panels: {a: {kind: bars, metrics: [ndcg@20]}, ...}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from matplotlib.figure import Figure

from experiments.method import (
    FIGURES,
    TABLES,
    Method,
    chosen_rows,
    read_method,
    table_methods,
)
from shared.errors import InvalidInputError

Kind = Literal["bars", "groups", "tau", "spectra"]

EVERY_ROW = "all"


@dataclass(frozen=True)
class Panel:
    """One plot.

    kind: "bars" of `metrics` on test with the history masked; "groups": nDCG@10 by the target's
    group; "tau" before and after fine-tuning; "spectra" of `tables`.
    rows: the names of those shown, all by default. tables: for each spectrum of `Analysis`, the
    rows whose it shows, or "all".
    """

    kind: Kind
    metrics: tuple[str, ...] = ()
    rows: tuple[str, ...] | None = None
    tables: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """panels: by what the name of their file ends with."""

    rows: Sequence[Method]
    panels: Mapping[str, Panel]


@dataclass(frozen=True)
class Outcome:
    """What a study comes to. text: Markdown. cells: the results of all rows, as JSON has them.
    figures: by what the name of their file ends with."""

    text: str
    cells: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Figure]


PANELS_OF_A_TABLE = {
    "": Panel("bars", ("ndcg@10", "hr@10")),
    "groups": Panel("groups"),
    "tau": Panel("tau"),
    "spectra": Panel("spectra", tables={"input": None}),
}


def read_study(name: str, methods: Sequence[str] | None = None) -> Study:
    """The study of a table or a figure; methods: the rows wanted, as `chosen_rows` takes them.

    Raises InvalidInputError for an unknown name or row, or a file that makes no sense.
    """
    file = FIGURES / f"{name}.yaml"
    if not file.is_file():
        return Study(table_methods(name, methods), PANELS_OF_A_TABLE)
    document = _read(file)
    rows = {Path(row).name: read_method(TABLES / f"{row}.yaml") for row in document["rows"]}
    panels = {
        letter: _panel(f"{name}.panels.{letter}", entry)
        for letter, entry in document["panels"].items()
    }
    return Study(chosen_rows(name, rows, methods), panels)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError.of("figure", f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or set(document) != {"rows", "panels"}:
        raise InvalidInputError.of("figure", f"{path} must hold rows and panels, and no more")
    return document


def _panel(place: str, entry: Mapping[str, Any]) -> Panel:
    known = [entry.name for entry in fields(Panel)]
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise InvalidInputError.of(f"{place}.{unknown[0]}", f"unknown; {', '.join(known)}")
    if entry.get("kind") not in get_args(Kind):
        raise InvalidInputError.of(f"{place}.kind", f"must be one of {', '.join(get_args(Kind))}")
    rows = entry.get("rows")
    tables = entry.get("tables", {})
    return Panel(
        entry["kind"],
        tuple(entry.get("metrics", ())),
        None if rows is None else tuple(rows),
        {table: None if names == EVERY_ROW else tuple(names) for table, names in tables.items()},
    )
