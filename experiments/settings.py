"""The settings of an experiment: a YAML file whose sections are the configs of the stages.

`like: other.yaml` takes the sections of the file beside it, and changes what this one names.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.methods.letter import LetterConfig
from experiments.methods.tiger import TigerConfig
from shared.errors import InvalidInputError
from shared.modeling.base_model import hidden_size
from shared.modeling.base_source import BaseKind, BaseSource, TinyLlama
from shared.modeling.quantizer_config import MMRQVAEConfig, QuantizerConfig, quantizer_config
from shared.modeling.ranker_config import RankerConfig
from shared.modeling.sasrec_config import SASRecConfig
from shared.overriding import overridden

SECTIONS = (
    "data", "encoders", "collaborative", "quantizer", "base_model", "tiny", "ranker",
    "tiger", "letter",
)  # fmt: skip
LIKE = "like"


@dataclass(frozen=True)
class DataSettings:
    """sequences, item_map: files of a published split in the data's folder, in place of its own
    interactions (`experiments.published_split`); minimum_rating and core do not touch them.
    cold_share: of the items, drawn by chance, no interaction is left in the training part, so that
    those of them that are test targets show what a model knows of an item by its content alone."""

    sequences: str | None = None
    item_map: str | None = None
    minimum_rating: float | None = None
    core: int = 1
    cold_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cold_share < 1:
            raise InvalidInputError.of(
                "data.cold_share", f"must be in [0, 1), not {self.cold_share}"
            )


@dataclass(frozen=True)
class EncoderSettings:
    text: str | None = "minilm"
    image: str | None = "efficientnet-lite0"


@dataclass(frozen=True)
class Settings:
    """The configs of all stages; the seed of each cell replaces theirs."""

    data: DataSettings
    encoders: EncoderSettings
    collaborative: SASRecConfig
    quantizer: QuantizerConfig
    base: BaseSource
    ranker: RankerConfig
    tiger: TigerConfig
    letter: LetterConfig

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_settings(path: Path) -> Settings:
    """Raises InvalidInputError for a file that is no YAML mapping, or a name or value unknown."""
    document = _read(path)
    like = document.pop(LIKE, None)
    if like is not None:
        document = _changed(_read(path.parent / str(like)), document)
    unknown = sorted(set(document) - set(SECTIONS))
    if unknown:
        raise InvalidInputError.of(unknown[0], f"no section has this name; {', '.join(SECTIONS)}")
    base = _base(str(document.get("base_model", "tiny")), document.get("tiny") or {})

    def section(name: str, defaults: Any) -> Any:
        return overridden(defaults, document.get(name) or {}, name)

    return Settings(
        data=section("data", DataSettings()),
        encoders=section("encoders", EncoderSettings()),
        collaborative=section("collaborative", SASRecConfig()),
        quantizer=quantizer_config(
            MMRQVAEConfig(dimension=hidden_size(base)), document.get("quantizer") or {}, "quantizer"
        ),
        base=base,
        ranker=section("ranker", RankerConfig(train_base=base.kind == BaseKind.TINY)),
        tiger=section("tiger", TigerConfig()),
        letter=section("letter", LetterConfig()),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError.of("settings", f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInputError.of("settings", f"{path} is no mapping")
    return document


def _changed(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Section by section, name by name; a value that is no section is replaced."""
    changed = dict(document)
    for name, change in changes.items():
        before = changed.get(name)
        if isinstance(before, Mapping) and isinstance(change, Mapping):
            change = _changed(before, change)
        changed[name] = change
    return changed


def _base(name: str, tiny: Mapping[str, Any]) -> BaseSource:
    sizes = overridden(TinyLlama(), tiny, "tiny")
    if name in (BaseKind.TINY, BaseKind.SMOLLM2):
        return BaseSource(kind=BaseKind(name), tiny=sizes)
    return BaseSource(kind=BaseKind.CHECKPOINT, name=name, tiny=sizes)
