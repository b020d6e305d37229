"""A row of a table: one YAML file that says what of an item enters which model (Table 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from shared.errors import InvalidInputError
from shared.modeling.item_encoder import EQUATION_16, ItemForm
from shared.modeling.modality import Modality

Model = Literal["popularity", "sasrec", "motor", "tiger", "letter", "ranker"]
Codes = Literal["quantized", "random", "table", "none"]

TABLES = Path(__file__).parent
FIGURES = TABLES / "figures"


@dataclass(frozen=True)
class Method:
    """One row.

    model: what ranks. modalities: those that enter it, as far as the data has them.
    input: the parts of an item's input embedding, and how they are joined.
    codes: "quantized": trained semantic IDs with their code embeddings; "random": the same IDs,
    code embeddings of the same scale without what they learned; "table": a random row an item.
    fused: Eq. 18; without it a score is o E_x^T. (These three are a ranker's.)
    collaborative: of the SASRec that ranks, or whose E_c enters the others; sequence: of the one
    beside the LLM, where `ranker.sequence_weights` are given; with quantizer and ranker: what
    differs from the settings of the run.
    """

    name: str
    model: Model
    modalities: tuple[Modality, ...] = tuple(Modality)
    input: ItemForm = EQUATION_16
    codes: Codes = "quantized"
    fused: bool = True
    collaborative: Mapping[str, Any] = field(default_factory=dict)
    sequence: Mapping[str, Any] = field(default_factory=dict)
    quantizer: Mapping[str, Any] = field(default_factory=dict)
    ranker: Mapping[str, Any] = field(default_factory=dict)


def table_methods(table: str, names: Sequence[str] | None = None) -> list[Method]:
    """The rows of a table, a folder beside this file, in the order of their file names.

    names: those wanted, as `chosen_rows` takes them.

    Raises InvalidInputError for an unknown table or row, or a file that makes no sense.
    """
    files = {path.stem: read_method(path) for path in sorted((TABLES / table).glob("*.yaml"))}
    if not files:
        tables = {path.parent.name for path in TABLES.glob("*/*.yaml")} - {FIGURES.name}
        known = [*sorted(tables), *sorted(path.stem for path in FIGURES.glob("*.yaml"))]
        raise InvalidInputError.of("table", f"{table!r} is none of {', '.join(known)}")
    return chosen_rows(table, files, names)


def chosen_rows(
    where: str, files: Mapping[str, Method], names: Sequence[str] | None = None
) -> list[Method]:
    """Rows by file name -> those wanted, by their own name or their file's, in any case.

    Raises InvalidInputError for an unknown row; where: what has no such row.
    """
    if names is None:
        return list(files.values())
    wanted = {name.casefold() for name in names}
    chosen = [
        (stem, method)
        for stem, method in files.items()
        if {_bare(stem).casefold(), method.name.casefold()} & wanted
    ]
    found = {name.casefold() for stem, row in chosen for name in (_bare(stem), row.name)}
    missing = sorted(wanted - found)
    if missing:
        raise InvalidInputError.of(
            "methods",
            f"{where} has no row {missing[0]!r}; {', '.join(row.name for row in files.values())}",
        )
    return [method for _, method in chosen]


def read_method(path: Path) -> Method:
    """Raises InvalidInputError for a file that is no YAML mapping, or a name or value unknown."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError.of("method", f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInputError.of("method", f"{path} is no mapping")
    known = [entry.name for entry in fields(Method)]
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise InvalidInputError.of(unknown[0], f"{path}: unknown; {', '.join(known)}")
    for name, choices in (("model", get_args(Model)), ("codes", get_args(Codes))):
        if name in document and document[name] not in choices:
            raise InvalidInputError.of(
                name, f"{path}: {document[name]!r} is none of {', '.join(choices)}"
            )
    try:
        if "modalities" in document:
            document["modalities"] = tuple(Modality(name) for name in document["modalities"])
        if "input" in document:
            document["input"] = ItemForm(**document["input"])
        return Method(**document)
    except (TypeError, ValueError) as error:
        raise InvalidInputError.of("method", f"{path}: {error}") from error


def _bare(stem: str) -> str:
    """The name of a row's file without the number that orders it."""
    return stem.partition("_")[2] or stem
