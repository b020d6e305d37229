"""A data set of user sequences as RecBole reads it, and the settings that make its SASRec ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.modeling.sasrec_config import SASRecConfig

NAME = "sequences"
TIME_FIELD = "position"
METRICS = {"hr@10": "hit@10", "ndcg@10": "ndcg@10"}
"""Our names of the figures that RecBole reports, and its own."""


def write_recbole_files(folder: Path, sequences: Sequence[NDArray[np.int64]]) -> None:
    """The atomic file of all interactions: user row, item row, position in the user's sequence.

    RecBole sorts a user's by position; with `recbole_settings` the last of them is its test item
    and the one before its validation item, as in `leave_one_out`.
    """
    (folder / NAME).mkdir(parents=True)
    with (folder / NAME / f"{NAME}.inter").open("w") as file:
        file.write(f"user_id:token\titem_id:token\t{TIME_FIELD}:float\n")
        for user, items in enumerate(sequences):
            for position, item in enumerate(items.tolist()):
                file.write(f"{user}\t{item}\t{position}\n")


def recbole_settings(folder: Path, config: SASRecConfig, batch_size: int) -> dict[str, Any]:
    """What RecBole's `Config` takes. batch_size: targets, each with its own padded history."""
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "checkpoints"),
        "load_col": {"inter": ["user_id", "item_id", TIME_FIELD]},
        "TIME_FIELD": TIME_FIELD,
        "MAX_ITEM_LIST_LENGTH": config.max_length,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "group_by": "user",
            "order": "TO",
            "mode": {"valid": "full", "test": "full"},
        },
        "n_layers": config.blocks,
        "n_heads": config.heads,
        "hidden_size": config.dimension,
        "inner_size": config.feedforward,
        "hidden_dropout_prob": config.dropout,
        "attn_dropout_prob": config.dropout,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "train_batch_size": batch_size,
        "eval_batch_size": 512,
        "epochs": config.epochs,
        "stopping_step": config.patience,
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 6,
        "use_gpu": False,
        "show_progress": False,
        "seed": config.seed,
    }
