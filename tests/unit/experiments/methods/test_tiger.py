from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.methods.tiger import BEGIN, Tiger, TigerConfig, train_tiger
from experiments.methods.unique_ids import unique_ids
from shared.errors import InvalidInputError
from shared.modeling.evaluation import evaluate, popularity_scorer
from shared.modeling.modality import Modality
from shared.modeling.sequences import item_frequency, leave_one_out
from shared.modeling.window_batches import batches_of

ITEMS = 20
SMALL = TigerConfig(
    dimension=16, layers=1, heads=2, feedforward=32, dropout=0.0, max_items=6, beam=ITEMS,
    epochs=2, batch_size=10, learning_rate=1e-2, validation_users=20, seed=3,
)  # fmt: skip
COLLABORATIVE, TEXT = Modality.COLLABORATIVE, Modality.TEXT
HISTORIES = [np.array([3, 1, 4, 15, 9]), np.array([17]), np.array([], dtype=np.int64)]


def cycle_split():
    """Every user walks round the catalogue, 0, 1, .., 19, 0, .., from another start."""
    return leave_one_out([(np.arange(8) + start) % ITEMS for start in range(ITEMS)] * 2)


def semantic_ids():
    """Fives and the rest; and a code that three items in a row share."""
    rows = torch.arange(ITEMS)
    return {
        TEXT: torch.stack([rows // 5, rows % 5], dim=1),
        COLLABORATIVE: (rows // 3 % 4).unsqueeze(1),
    }


def untrained(config=SMALL):
    torch.manual_seed(5)
    return Tiger(unique_ids(semantic_ids()), config).eval()


@torch.inference_mode()
def log_probability(model, history, codes):
    """Of an ID, or the beginning of one, after a history, with neither batch, cache nor beams."""
    tokens = model.tokens[torch.from_numpy(history)].flatten()
    history_tokens = torch.cat([torch.tensor([BEGIN]), tokens]).unsqueeze(0)
    owner = torch.cat([torch.zeros(1), torch.arange(len(tokens)) // model.levels + 1])
    encoded = model.t5.encoder(
        input_ids=history_tokens,
        attention_mask=(owner <= owner.unsqueeze(1))[None, None],
    ).last_hidden_state
    own = torch.cat([torch.tensor([BEGIN]), codes])
    total = 0.0
    for level in range(len(codes)):
        states = model.t5.decoder(
            input_ids=own[: level + 1].unsqueeze(0), encoder_hidden_states=encoded, use_cache=False
        ).last_hidden_state
        first = 1 + level * model.size
        table = model.t5.shared.weight[first : first + model.size]
        logits = states[0, -1] @ table.T / model.config.dimension**0.5
        total += torch.log_softmax(logits, dim=0)[own[level + 1] - first].item()
    return total


def test_a_beam_of_the_catalogue_gives_every_item_the_log_probability_of_its_codes():
    model = untrained()
    scores = model.score(HISTORIES)
    for own, history in zip(scores, HISTORIES, strict=True):
        expected = [log_probability(model, history, own_codes) for own_codes in model.tokens]
        torch.testing.assert_close(own, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_the_codes_that_exist_have_less_than_all_of_the_probability():
    shares = untrained().score(HISTORIES).exp().sum(dim=1)
    assert ((shares > 0) & (shares < 1)).all()


def test_a_narrow_beam_gives_as_many_different_items_their_own_log_probability():
    wide = untrained().score(HISTORIES)
    narrow = untrained(replace(SMALL, beam=7)).score(HISTORIES)
    found = narrow > -torch.inf
    assert found.sum(dim=1).tolist() == [7, 7, 7]
    torch.testing.assert_close(narrow[found], wide[found])


def test_a_beam_of_one_is_the_greedy_path():
    model = untrained(replace(SMALL, beam=1))
    path = torch.empty(0, dtype=torch.int64)
    for level in range(model.levels):
        on_path = (model.tokens[:, :level] == path).all(dim=1)
        longer = model.tokens[on_path][:, : level + 1].unique(dim=0)
        path = max(longer, key=lambda codes: log_probability(model, HISTORIES[0], codes))
    [item] = (model.score(HISTORIES[:1])[0] > -torch.inf).nonzero().flatten().tolist()
    assert model.tokens[item].tolist() == path.tolist()


def test_an_item_that_was_not_found_ranks_behind_those_found_and_is_no_hit():
    model = untrained(replace(SMALL, beam=3))
    history = np.array([0, 1])
    scores = model.score([history])[0]
    lost = int((scores == -torch.inf).nonzero()[-1])
    ranks = evaluate(model.score, [history], np.array([lost]))
    unfound = int((scores == -torch.inf).sum())
    assert ranks.unmasked_ranks.tolist() == [1 + 3 + (unfound - 1) / 2]
    assert ranks.unmasked["ndcg@10"] == ranks.unmasked["hr@10"] == 0


def test_a_history_does_not_depend_on_those_beside_it():
    model = untrained(replace(SMALL, beam=7))
    together = model.score(HISTORIES)
    for own, history in zip(together, HISTORIES, strict=True):
        torch.testing.assert_close(model.score([history])[0], own, atol=1e-5, rtol=1e-5)


def test_only_the_last_items_of_a_history_count():
    model = untrained()
    recent = np.array([7, 8, 9, 10, 11, 12])
    scores = model.score([np.concatenate([[1, 2, 3], recent]), recent])
    torch.testing.assert_close(scores[0], scores[1])


def test_an_empty_history_alone_gets_finite_scores():
    assert torch.isfinite(untrained().score([HISTORIES[2]])).all()


def test_one_pass_over_sequences_trains_on_every_prefix_as_it_is_scored():
    model = untrained()
    windows = [np.array([3, 1, 4, 15, 9, 2]), np.array([6, 5, 3])]
    [batch] = batches_of(windows, 2, np.random.default_rng(0))
    with torch.no_grad():
        logits = torch.log_softmax(model(batch), dim=2)
    codes = model.tokens[batch.targets[batch.valid]] - 1 - torch.arange(model.levels) * model.size
    sums = logits.gather(2, codes.unsqueeze(2)).sum(dim=(1, 2))
    pairs = [
        (context[: place + 1].numpy(), int(targets[place]))
        for context, targets, valid in zip(batch.context, batch.targets, batch.valid, strict=True)
        for place in range(int(valid.sum()))
    ]
    assert len(pairs) == 7
    expected = [model.score([history])[0, target] for history, target in pairs]
    torch.testing.assert_close(sums, torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_every_code_is_a_token_of_its_level_and_modality_alone():
    model = untrained()
    levels = [set(column.tolist()) for column in model.tokens.T]
    assert sum(map(len, levels)) == len(set().union(*levels))
    assert BEGIN not in set().union(*levels)
    assert model.t5.shared.num_embeddings == 1 + model.levels * model.size


def test_items_with_the_same_codes_are_told_apart():
    codes = semantic_ids()
    for rows in codes.values():
        rows[7] = rows[19]
    model = train_tiger(cycle_split(), codes, replace(SMALL, epochs=1))
    assert model.levels == 4
    scores = model.score(HISTORIES)
    assert torch.isfinite(scores).all()
    assert not torch.isclose(scores[:, 7], scores[:, 19]).any()


def test_it_learns_a_deterministic_cycle_better_than_popularity():
    split = cycle_split()
    model = train_tiger(split, semantic_ids(), replace(SMALL, epochs=40, patience=40))
    evaluation = evaluate(model.score, split.test_histories(), split.test_target)
    popularity = popularity_scorer(item_frequency(split, ITEMS))
    baseline = evaluate(popularity, split.test_histories(), split.test_target)
    assert evaluation.masked["ndcg@10"] > 0.9
    assert baseline.masked["ndcg@10"] < 0.6


def test_training_is_reproducible_by_seed():
    config = replace(SMALL, epochs=1, dropout=0.2)
    first, again, other = (
        train_tiger(cycle_split(), semantic_ids(), replace(config, seed=seed)).score(HISTORIES)
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_random_state_and_what_was_passed_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    codes = semantic_ids()
    train_tiger(cycle_split(), codes, replace(SMALL, epochs=1, dropout=0.2))
    assert torch.equal(torch.rand(3), expected)
    for modality, rows in semantic_ids().items():
        assert torch.equal(codes[modality], rows)


def test_training_stops_early_and_keeps_the_best_epoch():
    validations = []

    def watch(progress):
        assert progress.stage == "tiger"
        if "validation_ndcg@10" in progress.metrics:
            validations.append(progress.metrics["validation_ndcg@10"])

    split = cycle_split()
    config = replace(SMALL, epochs=60, patience=2, learning_rate=3e-2, validation_users=40)
    model = train_tiger(split, semantic_ids(), config, watch)
    assert len(validations) < 60
    assert int(np.argmax(validations)) == len(validations) - 3
    kept = evaluate(model.score, split.validation_histories(), split.validation_target)
    assert kept.masked["ndcg@10"] == pytest.approx(max(validations))
    assert not model.training


def test_the_validation_users_are_as_many_as_asked_for():
    seen = []
    split = cycle_split()
    original = Tiger.score

    def score(self, histories):
        seen.append(len(histories))
        return original(self, histories)

    Tiger.score = score
    try:
        train_tiger(split, semantic_ids(), replace(SMALL, epochs=1, validation_users=5))
    finally:
        Tiger.score = original
    assert seen == [5]


@pytest.mark.parametrize(
    ("field", "sequences"),
    [("split.train", [[1], [2]]), ("split.validation_target", [[1, 2], [3, 4]])],
)
def test_a_split_that_trains_or_validates_nobody_is_named(field, sequences):
    split = leave_one_out([np.array(items) for items in sequences])
    with pytest.raises(InvalidInputError) as caught:
        train_tiger(split, semantic_ids(), SMALL)
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize(
    "wrong",
    [{"beam": 0}, {"heads": 3}, {"dropout": 1.0}, {"learning_rate": 0.0}, {"patience": 0}],
)
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        replace(SMALL, **wrong)
