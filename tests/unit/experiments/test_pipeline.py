import json

import numpy as np
import pytest

from experiments.pipeline import MODELS, run_seed
from experiments.settings import read_settings
from experiments.table import markdown_table
from shared.modeling.item_tables import ItemTables
from shared.modeling.modality import Modality
from shared.modeling.sequences import leave_one_out

SETTINGS = """
collaborative: {epochs: 2, dimension: 8}
quantizer: {epochs: 2, hidden: 16, codebook_size: 4, levels: 2}
tiny: {hidden_size: 16, intermediate_size: 16, heads: 2, layers: 1}
ranker: {epochs: 2, max_history: 5}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "settings.yaml"
    file.write_text(SETTINGS)
    settings = read_settings(file)
    rng = np.random.default_rng(0)
    items = 15
    split = leave_one_out([rng.permutation(items)[:6] for _ in range(20)])
    content = ItemTables(
        {Modality.TEXT: rng.normal(size=(items, 6)).astype(np.float32)},
        {Modality.TEXT: np.zeros(items, dtype=np.bool_)},
    )
    return [run_seed(split, items, content, settings.with_seed(seed)) for seed in (0, 1)]


def test_every_model_is_evaluated_on_validation_and_test_with_the_history_masked_and_not(results):
    document = json.loads(json.dumps(results[0].as_dict()))
    for part in ("validation", "test"):
        assert tuple(document[part]) == MODELS
        for model in MODELS:
            assert document[part][model]["users"] == 20
            assert set(document[part][model]["masked"]) == set(document[part][model]["unmasked"])
    assert set(document["test"]["mmesid"]["groups"]) == {"head", "tail", "cold"}
    assert set(document["seconds"]) == {"collaborative", "quantize", "finetune", "evaluate"}


def test_the_seed_changes_the_trained_models_and_not_popularity(results):
    first, second = results
    assert first.test["popularity"].masked == second.test["popularity"].masked
    ranks = [result.test["mmesid"].masked_ranks.tolist() for result in results]
    assert ranks[0] != ranks[1]


def test_the_table_has_a_row_for_each_model_and_view_with_the_mean_of_the_seeds(results):
    lines = markdown_table(results).splitlines()
    assert len(lines) == 2 + 2 * len(MODELS)
    assert {line.count("|") for line in lines} == {10}
    mean = np.mean([result.test["SASRec"].unmasked["hr@5"] for result in results])
    (row,) = [line for line in lines if line.startswith("| SASRec | unmasked")]
    assert row.split("|")[3].split("±")[0].strip() == f"{mean:.4f}"
