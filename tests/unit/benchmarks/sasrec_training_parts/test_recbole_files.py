import numpy as np

from benchmarks.sasrec_training_parts.recbole_files import (
    NAME,
    recbole_settings,
    write_recbole_files,
)
from shared.modeling.sasrec_config import SASRecConfig


def test_the_interactions_are_a_users_items_in_their_order(tmp_path):
    sequences = [np.array([4, 0, 2]), np.array([1, 4, 1, 3])]
    write_recbole_files(tmp_path, sequences)
    head, *lines = (tmp_path / NAME / f"{NAME}.inter").read_text().splitlines()
    assert head.split("\t") == ["user_id:token", "item_id:token", "position:float"]
    rows = [[int(cell) for cell in line.split("\t")] for line in lines]
    for user, items in enumerate(sequences):
        own = sorted((position, item) for who, item, position in rows if who == user)
        assert [item for _, item in own] == items.tolist()
    assert len(rows) == 7


def test_the_settings_are_those_of_our_config(tmp_path):
    config = SASRecConfig(dimension=8, blocks=3, heads=2, feedforward=20, dropout=0.4, max_length=7)
    found = recbole_settings(tmp_path, config, batch_size=99)
    ours = (8, 3, 2, 20, 0.4, 0.4, 7, 99)
    names = (
        "hidden_size", "n_layers", "n_heads", "inner_size", "hidden_dropout_prob",
        "attn_dropout_prob", "MAX_ITEM_LIST_LENGTH", "train_batch_size",
    )  # fmt: skip
    assert tuple(found[name] for name in names) == ours
    assert found["eval_args"]["split"] == {"LS": "valid_and_test"}
