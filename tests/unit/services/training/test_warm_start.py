"""What a run starts from: ten items of a live bundle, and what has become of them since."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from services.training.configs import configs_of
from services.training.stages.snapshot import Snapshot, SnapshotItem
from services.training.warm_start import decide, load_start, save_start
from shared.artifacts.bundle import Manifest
from shared.contracts.admin import TrainingCreate
from shared.errors import InvalidInputError
from shared.modeling.modality import Modality
from shared.settings import TrainingSettings

SETTINGS = TrainingSettings(device="cpu", warm_new_items=0.2, warm_new_interactions=0.5)
ENCODERS = {Modality.TEXT: "text-1", Modality.VISUAL: "image-1"}
ITEMS = [f"item-{n}" for n in range(10)]
KEPT_BUT_RANKER = {"collaborative": "kept", "sequence": "kept", "quantize": "kept"}


def snapshot(items=ITEMS, walks=10):
    sequences = [(start + np.arange(6)) % len(items) for start in range(walks)]
    return Snapshot(
        items=[SnapshotItem(item, 1, f"hash of {item}", item, None) for item in items],
        sequences=sequences,
        unknown_interactions=0,
        short_sequences=0,
        non_positive=0,
        repeated=0,
    )


def configs(**request):
    return configs_of(TrainingCreate(**request), SETTINGS)


@pytest.fixture
def live(tmp_path):
    """Made of `snapshot()` by a request that said nothing."""
    (tmp_path / "sequence").mkdir()
    manifest = Manifest.model_construct(version="b1", encoders=ENCODERS, config={})
    manifest = manifest.model_copy(
        update={"config": json.loads(manifest.model_copy(
            update={"config": configs().as_dict()}).model_dump_json(include={"config"}))["config"]}
    )  # fmt: skip
    data = snapshot()
    return SimpleNamespace(
        manifest=manifest,
        catalogue=SimpleNamespace(item_ids=ITEMS, frequency=data.frequency()),
        sequence=tmp_path / "sequence",
    )


def decided(live, data=None, encoders=ENCODERS, **request):
    create = TrainingCreate(**request)
    return decide(
        create, SETTINGS, configs_of(create, SETTINGS), encoders, data or snapshot(), live
    )


def test_the_first_run_starts_from_nothing():
    start = decided(None)
    assert (start.parent, start.is_warm) == (None, False)
    assert set(start.stages.values()) == {"cold"}
    assert start.figures() == {"warm_start": 0.0}


def test_a_run_on_nearly_the_same_data_is_warm_and_keeps_the_tokenizer(live):
    start = decided(live, snapshot([*ITEMS, "new"]))
    assert start.parent == "b1"
    assert start.stages == {
        "collaborative": "warm", "sequence": "warm", "quantize": "kept", "finetune": "warm",
    }  # fmt: skip
    assert start.new_items == pytest.approx(1 / 11)
    assert start.figures()["warm_start"] == 1.0


def test_too_many_new_items_start_cold(live):
    start = decided(live, snapshot([*ITEMS[:7], "new-1", "new-2", "new-3"]))
    assert not start.is_warm
    assert start.reason.startswith("30.0% of the items are new, more than 20.0%")


def test_too_many_new_interactions_start_cold(live):
    start = decided(live, snapshot(walks=30))
    assert start.parent is None
    assert start.new_interactions == pytest.approx(2 / 3)
    assert start.reason == "66.7% of the interactions are new, more than 50.0%"


def test_interactions_that_replace_deleted_ones_are_new(live):
    """As many as before, all with two of the items."""
    data = snapshot()
    moved = [np.array([0, 1, 0, 1, 0, 1]) for _ in data.sequences]
    changed = replace(data, sequences=moved)
    assert decided(live, changed).new_interactions == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"collaborative": {"dimension": 32}}, "collaborative.dimension"),
        ({"quantizer": {"codebook_size": 16}}, "quantizer.codebook_size"),
        ({"quantizer": {"kind": "rq_kmeans"}}, "quantizer.kind"),
        ({"ranker": {"lora": {"rank": 4}}}, "ranker.lora"),
        ({"ranker": {"train_base": False}}, "ranker.train_base"),
        ({"ranker": {"tiny": {"hidden_size": 32}}}, "base.tiny"),
    ],
)
def test_weights_of_other_shapes_start_cold_and_warm_is_refused(live, request_, reason):
    start = decided(live, **request_)
    assert not start.is_warm
    assert reason in start.reason
    with pytest.raises(InvalidInputError) as raised:
        decided(live, start="warm", **request_)
    assert raised.value.fields[0].field == "start"
    assert reason in raised.value.detail


@pytest.mark.parametrize(
    "request_",
    [
        {"seed": 5},
        {"collaborative": {"epochs": 3, "dropout": 0.1}},
        {"ranker": {"epochs": 2, "learning_rate_new": 1e-4, "sequence_weights": []}},
    ],
)
def test_settings_that_only_say_how_to_train_do_not_matter(live, request_):
    assert decided(live, **request_).is_warm


def test_other_encoders_start_cold(live):
    start = decided(live, encoders={**ENCODERS, Modality.TEXT: "text-2"})
    assert start.reason == "the live bundle's vectors come from other encoders"
    assert not decided(live, encoders={Modality.TEXT: "text-1"}).is_warm


def test_a_bundle_without_the_other_sasrec_starts_cold(live):
    live.sequence.rmdir()
    assert not decided(live).is_warm
    assert decided(live, ranker={"sequence_weights": []}).is_warm


def test_what_was_asked_for_is_done_however_much_is_new(live):
    data = snapshot([*ITEMS[:2], *(f"new-{n}" for n in range(8))])
    assert decided(live, data, start="warm").is_warm
    assert not decided(live, start="cold").is_warm


def test_a_warm_start_from_nothing_is_refused(live):
    with pytest.raises(InvalidInputError, match="no live bundle"):
        decided(None, start="warm")
    with pytest.raises(InvalidInputError, match="items is left"):
        decided(live, snapshot(["x", "y", "z"]), start="warm")


def test_stages_that_are_not_named_are_kept(live):
    start = decided(live, stages=["finetune"])
    assert start.stages == {**KEPT_BUT_RANKER, "finetune": "warm"}
    start = decided(live, stages=["collaborative", "finetune"])
    assert start.stages == {**KEPT_BUT_RANKER, "collaborative": "warm", "finetune": "warm"}
    start = decided(live, stages=["finetune"], start="cold")
    assert start.stages == {**KEPT_BUT_RANKER, "finetune": "cold"}


def test_a_tokenizer_that_is_named_is_made_anew_and_so_is_the_ranker(live):
    start = decided(live, stages=["quantize", "finetune"], quantizer={"kind": "rq_kmeans"})
    assert start.stages == {**KEPT_BUT_RANKER, "quantize": "cold", "finetune": "cold"}
    assert start.parent == "b1"
    everything = ["collaborative", "sequence", "quantize", "finetune"]
    assert decided(live, stages=everything).parent is None


def test_stages_cannot_be_left_to_a_bundle_that_does_not_fit(live):
    for found, request in ((None, {}), (live, {"quantizer": {"levels": 2}})):
        with pytest.raises(InvalidInputError) as raised:
            decided(found, stages=["finetune"], **request)
        assert raised.value.fields[0].field == "stages"


def test_a_decision_is_read_back_as_it_was_written(live, tmp_path):
    start = decided(live)
    save_start(start, tmp_path)
    assert load_start(tmp_path) == start
