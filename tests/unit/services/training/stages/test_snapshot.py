from dataclasses import replace

import numpy as np
import pytest

from services.training.stages.snapshot import (
    Snapshot,
    SnapshotItem,
    load_snapshot,
    require_enough,
    save_snapshot,
)
from shared.errors import InvalidInputError

ITEMS = [
    SnapshotItem("mug", 1, "hash-1", "A mug", None),
    SnapshotItem("pot", 3, "hash-2", "A pot", "ab" * 32),
    SnapshotItem("pan", 1, "hash-3", "A pan", None),
]
SEQUENCES = [np.array([0, 1, 2]), np.array([1, 1])]
SNAPSHOT = Snapshot(
    ITEMS, SEQUENCES, unknown_interactions=4, short_sequences=2, non_positive=6, repeated=5
)


def test_a_snapshot_is_read_back_as_it_was_saved(tmp_path):
    save_snapshot(SNAPSHOT, tmp_path)
    loaded = load_snapshot(tmp_path)
    assert loaded.items == ITEMS
    assert [sequence.tolist() for sequence in loaded.sequences] == [[0, 1, 2], [1, 1]]
    assert loaded.describe() == SNAPSHOT.describe()
    left_out = ("unknown_interactions", "short_sequences", "non_positive", "repeated")
    assert [loaded.describe()[name] for name in left_out] == [4, 2, 6, 5]


def test_the_hash_changes_with_content_and_behaviour_but_not_with_versions():
    same = replace(SNAPSHOT, items=[replace(ITEMS[0], version=9), *ITEMS[1:]])
    assert same.sha256() == SNAPSHOT.sha256()
    other_content = replace(SNAPSHOT, items=[replace(ITEMS[0], content_hash="new"), *ITEMS[1:]])
    other_order = replace(SNAPSHOT, sequences=[np.array([0, 2, 1]), SEQUENCES[1]])
    other_cut = replace(SNAPSHOT, sequences=[np.array([0, 1]), np.array([2, 1, 1])])
    hashes = {s.sha256() for s in (SNAPSHOT, other_content, other_order, other_cut)}
    assert len(hashes) == 4


def test_the_frequency_counts_the_training_part():
    assert SNAPSHOT.frequency().tolist() == [1, 2, 0]


def test_too_little_data_is_refused_with_the_reason():
    with pytest.raises(InvalidInputError, match="two items"):
        require_enough(replace(SNAPSHOT, items=ITEMS[:1]))
    with pytest.raises(
        InvalidInputError, match=r"no user has 3 interactions.* 6 were no positives"
    ):
        require_enough(replace(SNAPSHOT, sequences=[np.array([0, 1])]))
    require_enough(SNAPSHOT)
