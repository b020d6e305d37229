"""What the weights of a run start from: the live bundle's, or nothing.

    stages left out of the request   kept    the live bundle's weights as they are
    a warm start                     warm    trained from them; the tokenizer is kept
    a cold start                     cold    trained from nothing

It is decided once, when the data and the encoders are known, and holds for the whole run, whatever
goes live meanwhile.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter

from services.training.stages.snapshot import Snapshot
from shared.artifacts.bundle import Bundle, open_bundle
from shared.artifacts.store import ArtifactStore
from shared.contracts.admin import TrainedStage, TrainingCreate
from shared.errors import InvalidInputError, NotFoundError
from shared.modeling.modality import Modality
from shared.modeling.sasrec import SIZES
from shared.run_configs import RunConfigs
from shared.settings import TrainingSettings

FILE = "start.json"

# Of the ranker's config, what the weights' shapes and meaning depend on.
RANKER_SIZES = ("lora", "train_base", "temperature")

Treatment = Literal["kept", "warm", "cold"]
Treatments = Mapping[TrainedStage, Treatment]

COLD: Treatments = dict.fromkeys(("collaborative", "sequence", "quantize", "finetune"), "cold")
WARM: Treatments = {**dict.fromkeys(COLD, "warm"), "quantize": "kept"}


class Start(BaseModel):
    """parent: the bundle whose weights are used; None where none are. reason: why so.

    new_items, new_interactions: shares of the run's data that the live bundle did not know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: str | None
    stages: dict[TrainedStage, Treatment]
    reason: str
    new_items: float | None = None
    new_interactions: float | None = None

    @property
    def is_warm(self) -> bool:
        return self.stages["finetune"] == "warm"

    def figures(self) -> dict[str, float]:
        """For the run's progress."""
        shares = {"new_items": self.new_items, "new_interactions": self.new_interactions}
        known = {name: share for name, share in shares.items() if share is not None}
        return {"warm_start": float(self.is_warm), **known}

    def parent_bundle(self, store: ArtifactStore, catalog_id: str) -> Bundle | None:
        """Raises NotFoundError where its files are gone."""
        return None if self.parent is None else open_bundle(store, catalog_id, self.parent)


def save_start(start: Start, folder: Path) -> None:
    (folder / FILE).write_text(start.model_dump_json(indent=2))


def load_start(folder: Path) -> Start:
    """What `save_start` wrote."""
    return Start.model_validate_json((folder / FILE).read_bytes())


def open_live(store: ArtifactStore, catalog_id: str, version: str | None) -> Bundle | None:
    """The live bundle; None where there is none, or its files are gone."""
    if version is None:
        return None
    try:
        return open_bundle(store, catalog_id, version)
    except NotFoundError:
        return None


def decide(
    request: TrainingCreate,
    settings: TrainingSettings,
    configs: RunConfigs,
    encoders: Mapping[Modality, str],
    data: Snapshot,
    live: Bundle | None,
) -> Start:
    """encoders: the revisions that this run's E_j are made with.

    Raises InvalidInputError where the request needs weights that the live bundle does not have.
    """
    if request.stages is not None:
        return _of_a_subset(request, request.stages, configs, encoders, data, live)
    if request.start == "cold":
        return _cold("a cold start was asked for", data, live)
    obstacles = obstacles_to(WARM, configs, encoders, data, live)
    if request.start == "warm":
        if obstacles:
            raise InvalidInputError.of("start", f"cannot be warm: {'; '.join(obstacles)}")
        return _from(live, WARM, "a warm start was asked for", data)
    if live is not None and not obstacles:
        obstacles = _too_much_is_new(settings, data, live)
    if obstacles:
        return _cold("; ".join(obstacles), data, live)
    return _from(live, WARM, "little of the data is new", data)


def _of_a_subset(
    request: TrainingCreate,
    named: Sequence[TrainedStage],
    configs: RunConfigs,
    encoders: Mapping[Modality, str],
    data: Snapshot,
    live: Bundle | None,
) -> Start:
    """What is named is trained: from nothing where the tokenizer is made anew, since a ranker
    cannot read other codes, and where the request says so."""
    if set(named) == set(COLD):
        return _cold("all stages are named", data, live)
    anew = COLD if "quantize" in named or request.start == "cold" else WARM
    stages: Treatments = {stage: anew[stage] if stage in named else "kept" for stage in COLD}
    obstacles = obstacles_to(stages, configs, encoders, data, live)
    if obstacles:
        raise InvalidInputError.of(
            "stages", f"leave some to the live bundle, and {'; '.join(obstacles)}"
        )
    return _from(live, stages, f"only {', '.join(named)} are named", data)


def obstacles_to(
    stages: Treatments,
    configs: RunConfigs,
    encoders: Mapping[Modality, str],
    data: Snapshot,
    live: Bundle | None,
) -> list[str]:
    """Why the live bundle's weights cannot be used for the stages that are not cold."""
    if live is None:
        return ["there is no live bundle with its files"]
    former = live.manifest.config
    own: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(configs.as_dict(), mode="json")
    used = {stage for stage, treatment in stages.items() if treatment != "cold"}
    obstacles: list[str] = []
    if not set(live.catalogue.item_ids) & set(data.item_ids):
        obstacles.append("none of the live bundle's items is left")
    if "quantize" in used and dict(encoders) != live.manifest.encoders:
        obstacles.append("the live bundle's vectors come from other encoders")
    different = list(_differences(used, former, own))
    if different:
        obstacles.append(f"the live bundle was made with another {', '.join(different)}")
    needs_sequence = bool(configs.ranker.sequence_weights)
    if "sequence" in used and needs_sequence and not live.sequence.is_dir():
        obstacles.append("the live bundle has no SASRec of the sequence stage")
    return obstacles


def _differences(
    used: Set[TrainedStage], former: Mapping[str, Any], own: Mapping[str, Any]
) -> Iterator[str]:
    """The settings on which the weights' shapes and meaning depend, and that are not the same."""
    quantizer = sorted({*former.get("quantizer", {}), *own["quantizer"]} - {"seed"})
    depends: Sequence[tuple[TrainedStage, str, Iterable[str]]] = (
        ("collaborative", "collaborative", SIZES),
        ("sequence", "sequence", SIZES),
        ("quantize", "quantizer", quantizer),
        ("finetune", "base", own["base"]),
        ("finetune", "ranker", RANKER_SIZES),
    )
    for stage, section, names in depends:
        if stage in used:
            known = former.get(section, {})
            yield from (f"{section}.{n}" for n in names if known.get(n) != own[section].get(n))


def _too_much_is_new(settings: TrainingSettings, data: Snapshot, live: Bundle) -> list[str]:
    found: list[str] = []
    for name, share, most in (
        ("items", new_items(data, live), settings.warm_new_items),
        ("interactions", new_interactions(data, live), settings.warm_new_interactions),
    ):
        if share > most:
            found.append(f"{share:.1%} of the {name} are new, more than {most:.1%}")
    return found


def new_items(data: Snapshot, live: Bundle) -> float:
    """The share of the items that the live bundle does not have."""
    return len(set(data.item_ids) - set(live.catalogue.item_ids)) / len(data.items)


def new_interactions(data: Snapshot, live: Bundle) -> float:
    """The share of the training interactions by which the items' frequencies have grown: what
    replaces interactions that were deleted is new as well."""
    former = dict(zip(live.catalogue.item_ids, live.catalogue.frequency.tolist(), strict=True))
    frequency = data.frequency()
    known = np.array([former.get(item, 0) for item in data.item_ids])
    return float(np.clip(frequency - known, 0, None).sum() / max(1, frequency.sum()))


def _from(live: Bundle | None, stages: Treatments, reason: str, data: Snapshot) -> Start:
    assert live is not None
    return Start(
        parent=live.manifest.version, stages=dict(stages), reason=reason, **_shares(data, live)
    )


def _cold(reason: str, data: Snapshot, live: Bundle | None) -> Start:
    shares = {} if live is None else _shares(data, live)
    return Start(parent=None, stages=dict(COLD), reason=reason, **shares)


def _shares(data: Snapshot, live: Bundle) -> dict[str, float]:
    return {
        "new_items": new_items(data, live),
        "new_interactions": new_interactions(data, live),
    }
