import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shared.errors import InvalidInputError
from shared.modeling.evaluation import evaluate, popularity_scorer
from shared.modeling.modality import Modality
from shared.modeling.sasrec import SASRec, principal_content, train_sasrec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequences import item_frequency, leave_one_out

ITEMS = 30
SMALL = SASRecConfig(
    dimension=16, feedforward=32, dropout=0.1, max_length=8, epochs=30, batch_size=16, seed=3,
    learning_rate=1e-2, negatives=10,
)  # fmt: skip


def cycle_split():
    """Every user walks round the catalogue, 0, 1, .., 29, 0, .., from another start."""
    return leave_one_out([(np.arange(10) + start) % ITEMS for start in range(ITEMS)] * 2)


@pytest.fixture(scope="module")
def trained():
    return train_sasrec(cycle_split(), ITEMS, SMALL)


@pytest.mark.parametrize("loss", ["full", "sampled", "bce"])
def test_it_learns_a_deterministic_cycle_with_every_loss(loss):
    split = cycle_split()
    model = train_sasrec(split, ITEMS, replace(SMALL, loss=loss))
    evaluation = evaluate(model.score, split.test_histories(), split.test_target)
    popularity = popularity_scorer(item_frequency(split, ITEMS))
    baseline = evaluate(popularity, split.test_histories(), split.test_target)
    assert evaluation.unmasked["ndcg@10"] > 0.9
    assert baseline.unmasked["ndcg@10"] < 0.6


def test_training_is_reproducible_by_seed(trained):
    again = train_sasrec(cycle_split(), ITEMS, SMALL)
    other = train_sasrec(cycle_split(), ITEMS, replace(SMALL, seed=4))
    embeddings = trained.collaborative_embeddings()
    assert torch.equal(again.collaborative_embeddings(), embeddings)
    assert not torch.equal(other.collaborative_embeddings(), embeddings)


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train_sasrec(cycle_split(), ITEMS, replace(SMALL, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_model_gives_equal_scores(trained, tmp_path):
    trained.save(tmp_path / "collaborative")
    loaded = SASRec.load(tmp_path / "collaborative")
    histories = [np.array([1, 2, 3]), np.array([], dtype=np.int64), np.arange(12)]
    assert loaded.config == trained.config
    assert torch.equal(loaded.score(histories), trained.score(histories))


def test_scores_do_not_depend_on_the_other_histories_of_the_batch(trained):
    histories = [np.array([5]), np.arange(8), np.array([2, 9, 4])]
    together = trained.score(histories)
    alone = torch.cat([trained.score([history]) for history in histories])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_no_position_sees_what_comes_after_it(trained):
    first = torch.tensor([[3, 4, 5, 6]])
    second = torch.tensor([[3, 4, 9, 1]])
    torch.testing.assert_close(trained(first)[:, :2], trained(second)[:, :2])
    assert not torch.allclose(trained(first)[:, 2:], trained(second)[:, 2:])


def test_only_the_last_items_of_a_long_history_count(trained):
    long = np.arange(20) % ITEMS
    torch.testing.assert_close(trained.score([long]), trained.score([long[-8:]]))


def test_an_empty_history_gets_finite_scores(trained):
    assert torch.isfinite(trained.score([np.array([], dtype=np.int64)])).all()


def test_collaborative_embeddings_are_one_row_an_item_and_a_copy(trained):
    embeddings = trained.collaborative_embeddings()
    assert embeddings.shape == (ITEMS, 16)
    embeddings.zero_()
    assert trained.collaborative_embeddings().abs().sum() > 0


def test_it_learns_with_embeddings_of_places_too():
    split = cycle_split()
    model = train_sasrec(split, ITEMS, replace(SMALL, positions="absolute"))
    evaluation = evaluate(model.score, split.test_histories(), split.test_target)
    assert evaluation.unmasked["ndcg@10"] > 0.9


def test_a_model_saved_before_positions_were_a_choice_is_read_as_it_was(tmp_path):
    model = train_sasrec(cycle_split(), ITEMS, replace(SMALL, positions="absolute", epochs=1))
    model.save(tmp_path)
    document = json.loads((tmp_path / "sasrec.json").read_text())
    del document["config"]["positions"], document["config"]["start"]
    (tmp_path / "sasrec.json").write_text(json.dumps(document))
    histories = [np.arange(4)]
    assert torch.equal(SASRec.load(tmp_path).score(histories), model.score(histories))


def test_the_order_of_a_history_counts_only_by_distance(trained):
    """Of equal items the last counts alike wherever the history begins."""
    once, later = trained.score([np.array([5, 5]), np.array([5, 5, 5, 5])])
    moved = replace(SMALL, positions="absolute", epochs=3)
    by_place = train_sasrec(cycle_split(), ITEMS, moved)
    first, last = by_place.score([np.array([5, 5]), np.array([5, 5, 5, 5])])
    torch.testing.assert_close(once, later)
    assert not torch.allclose(first, last)


def test_items_can_start_from_the_geometry_of_their_content():
    content = {Modality.TEXT: torch.randn(ITEMS, 12), Modality.VISUAL: torch.randn(ITEMS, 6)}
    start = principal_content({Modality.TEXT: content[Modality.TEXT]}, 16)
    centred = content[Modality.TEXT] - content[Modality.TEXT].mean(dim=0)
    torch.testing.assert_close(
        F.normalize(torch.pdist(start), dim=0), F.normalize(torch.pdist(centred), dim=0)
    )
    model = SASRec(ITEMS, replace(SMALL, start="content"))
    model.start_from_content(content)
    distances = torch.pdist(model.output_embeddings().detach())
    joined = torch.pdist(principal_content(content, 16))
    torch.testing.assert_close(F.normalize(distances, dim=0), F.normalize(joined, dim=0))
    assert model.item_embedding.weight[ITEMS].eq(0).all()


def test_content_helps_where_interactions_are_few():
    """Two items of a kind look alike; a user walks from kind to kind, one of the two at a time."""
    rng = np.random.default_rng(0)
    kinds = [(np.arange(6) + start) % (ITEMS // 2) for start in range(ITEMS // 2)] * 3
    split = leave_one_out([2 * kind + rng.integers(0, 2, size=6) for kind in kinds])
    looks = torch.randn(ITEMS // 2, 8).repeat_interleave(2, dim=0)
    content = {Modality.TEXT: looks + 0.05 * torch.randn(ITEMS, 8)}
    few = replace(SMALL, epochs=3)
    figures = [
        evaluate(model.score, split.test_histories(), split.test_target).unmasked["ndcg@10"]
        for model in (
            train_sasrec(split, ITEMS, few),
            train_sasrec(split, ITEMS, replace(few, start="content"), content=content),
        )
    ]
    assert figures[1] > figures[0]


@pytest.mark.parametrize(
    "content", [{}, {Modality.TEXT: torch.zeros(ITEMS + 1, 4)}], ids=["none", "of other items"]
)
def test_content_that_does_not_fit_is_named(content):
    with pytest.raises(InvalidInputError) as caught:
        train_sasrec(cycle_split(), ITEMS, replace(SMALL, start="content"), content=content)
    assert "content" in caught.value.detail


def test_training_stops_early_and_keeps_the_best_epoch():
    validations = []

    def watch(progress):
        if "validation_ndcg@10" in progress.metrics:
            validations.append(progress.metrics["validation_ndcg@10"])

    split = cycle_split()
    model = train_sasrec(split, ITEMS, replace(SMALL, epochs=200, patience=3), watch)
    assert len(validations) < 200
    assert int(np.argmax(validations)) == len(validations) - 4
    kept = evaluate(model.score, split.validation_histories(), split.validation_target)
    assert kept.masked["ndcg@10"] == pytest.approx(max(validations))


def test_what_the_watcher_raises_stops_the_training():
    class StopError(Exception):
        pass

    def stop(_):
        raise StopError

    with pytest.raises(StopError):
        train_sasrec(cycle_split(), ITEMS, SMALL, stop)


def test_users_without_a_training_pair_cannot_train_a_model():
    with pytest.raises(InvalidInputError, match=r"split\.train"):
        train_sasrec(leave_one_out([np.array([0, 1, 2])]), 3, SMALL)


@pytest.mark.parametrize(
    "wrong", [{"heads": 3}, {"dropout": 1.0}, {"epochs": 0}, {"loss": "hinge"}]
)
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        replace(SMALL, **wrong)


def test_a_warm_start_is_validated_before_its_first_step_and_stays_where_training_harms(trained):
    split = cycle_split()
    seen = []
    harmful = replace(SMALL, learning_rate=10.0, epochs=2, patience=1)
    model = train_sasrec(split, ITEMS, harmful, seen.append, warm=trained)
    validation = evaluate(trained.score, split.validation_histories(), split.validation_target)
    assert seen[0].done == 0
    assert seen[0].metrics == {"validation_ndcg@10": validation.masked["ndcg@10"]}
    embeddings = trained.collaborative_embeddings()
    assert torch.equal(model.collaborative_embeddings(), embeddings)
    assert model is not trained


def test_a_warm_start_of_other_items_or_sizes_is_refused(trained):
    with pytest.raises(InvalidInputError, match="warm"):
        train_sasrec(cycle_split(), ITEMS + 1, SMALL, warm=trained)
    with pytest.raises(InvalidInputError, match="dimension"):
        train_sasrec(cycle_split(), ITEMS, replace(SMALL, dimension=8), warm=trained)
