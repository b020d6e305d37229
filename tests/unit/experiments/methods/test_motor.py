from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.methods.motor import MotorConfig, TokenCrossNetwork, train_motor
from shared.errors import InvalidInputError
from shared.modeling.evaluation import evaluate, popularity_scorer
from shared.modeling.modality import Modality
from shared.modeling.sequences import item_frequency, leave_one_out

ITEMS = 30
SMALL = MotorConfig(
    dimension=16, feedforward=32, dropout=0.1, max_length=8, epochs=30, batch_size=16, seed=3,
    learning_rate=1e-2, hidden=32,
)  # fmt: skip
TEXT, VISUAL = Modality.TEXT, Modality.VISUAL


def cycle_split():
    """Every user walks round the catalogue, 0, 1, .., 29, 0, .., from another start."""
    return leave_one_out([(np.arange(10) + start) % ITEMS for start in range(ITEMS)] * 2)


def semantic_ids():
    """Text: tens and units; images: the remainders by 2, 3 and 5. Each tells all items apart."""
    rows = torch.arange(ITEMS)
    return {
        TEXT: torch.stack([rows // 10, rows % 10], dim=1),
        VISUAL: torch.stack([rows % 2, rows % 3, rows % 5], dim=1),
    }


def tables(scale=0.1):
    generator = torch.Generator().manual_seed(7)
    return {
        TEXT: torch.randn(2, 10, 12, generator=generator) * scale,
        VISUAL: torch.randn(3, 5, 12, generator=generator) * scale,
    }


@pytest.fixture
def network():
    """With weights that all differ, so that none stands in for another."""
    torch.manual_seed(5)
    network = TokenCrossNetwork(semantic_ids(), tables(), SMALL)
    torch.nn.init.normal_(network.pair_weights)
    return network


@pytest.fixture(scope="module")
def trained():
    return train_motor(cycle_split(), semantic_ids(), tables(), SMALL)


def test_tokens_are_the_code_embeddings_of_every_modality_and_level(network):
    embedded = network.code_embeddings[network.tokens]
    assert embedded.shape == (ITEMS, 5, 12)
    for item in range(ITEMS):
        expected = [
            tables()[modality][level, code]
            for modality in (TEXT, VISUAL)
            for level, code in enumerate(semantic_ids()[modality][item])
        ]
        assert torch.equal(embedded[item], torch.stack(expected))


def test_the_cross_is_the_weighted_sum_of_the_products_of_all_pairs(network):
    embedded = torch.randn(4, 5, 12)
    expected = sum(
        network.pair_weights[a, b] * embedded[:, a] * embedded[:, b]
        for a in range(5)
        for b in range(a + 1, 5)
    )
    torch.testing.assert_close(network.cross(embedded), expected)


def test_looking_items_up_gives_the_rows_of_the_table_and_zeros_for_padding(network):
    rows = torch.tensor([[4, 29, ITEMS], [0, ITEMS, ITEMS]])
    assert network.weight.shape == (ITEMS + 1, 16)
    torch.testing.assert_close(network(rows), network.weight[rows])
    assert not network(rows)[rows == ITEMS].any()
    assert network(rows)[rows < ITEMS].abs().sum(dim=1).all()


def test_a_code_embedding_moves_exactly_the_items_that_hold_the_code(network):
    before = network.weight[:ITEMS].detach()
    with torch.no_grad():
        # After the 20 rows of text: level 1 of the images, 5 rows a level, code 2.
        network.code_embeddings[20 + 5 + 2] += 1
    moved = (network.weight[:ITEMS] - before).abs().sum(dim=1) > 1e-5
    assert torch.equal(moved, semantic_ids()[VISUAL][:, 1] == 2)


def test_small_code_embeddings_keep_their_second_order_interactions():
    torch.manual_seed(5)
    network = TokenCrossNetwork(semantic_ids(), tables(scale=1e-3), SMALL)
    before = network.weight.detach()
    with torch.no_grad():
        network.pair_weights[0, 3] = -5.0
    after = network.weight.detach()
    assert (after - before).norm() > 0.1 * before.norm()


def test_no_parameter_grows_with_the_catalogue():
    doubled = {modality: torch.cat([rows, rows]) for modality, rows in semantic_ids().items()}
    small = TokenCrossNetwork(semantic_ids(), tables(), SMALL)
    large = TokenCrossNetwork(doubled, tables(), SMALL)
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (small, large)]
    assert shapes[0] == shapes[1]
    assert large.weight.shape == (2 * ITEMS + 1, 16)


def test_items_with_the_same_codes_have_the_same_score():
    codes = semantic_ids()
    for rows in codes.values():
        rows[7] = rows[19]
    model = train_motor(cycle_split(), codes, tables(), replace(SMALL, epochs=2))
    scores = model.score([np.array([1, 2, 3]), np.array([7])])
    torch.testing.assert_close(scores[:, 7], scores[:, 19])
    torch.testing.assert_close(model.score([np.array([19])])[0], scores[1])
    assert len(scores[0].unique()) >= ITEMS - 2


def test_it_learns_a_deterministic_cycle(trained):
    split = cycle_split()
    evaluation = evaluate(trained.score, split.test_histories(), split.test_target)
    popularity = popularity_scorer(item_frequency(split, ITEMS))
    baseline = evaluate(popularity, split.test_histories(), split.test_target)
    assert evaluation.masked["ndcg@10"] > 0.9
    assert baseline.masked["ndcg@10"] < 0.6


def test_scores_are_products_with_the_table_that_reads_the_history(trained):
    history = torch.tensor([[2, 9, 4]])
    with torch.no_grad():
        hidden = trained.sequences(history)[0, -1]
    expected = hidden @ trained.item_embeddings().T
    torch.testing.assert_close(trained.score([history[0].numpy()])[0], expected)
    assert trained.item_embeddings().shape == (ITEMS, 16)


def test_an_empty_history_gets_finite_scores(trained):
    scores = trained.score([np.array([], dtype=np.int64)])
    assert scores.shape == (1, ITEMS)
    assert torch.isfinite(scores).all()


def test_code_embeddings_start_where_they_are_told_to():
    def started(pretrained):
        # So small a step that what comes out is where it began.
        config = replace(SMALL, pretrained=pretrained, learning_rate=1e-12, epochs=1)
        model = train_motor(cycle_split(), semantic_ids(), tables(), config)
        return model.sequences.item_embedding.code_embeddings.detach()

    given = torch.cat([table.flatten(0, 1) for table in tables().values()])
    torch.testing.assert_close(started(pretrained=True), given)
    random = started(pretrained=False)
    assert random.shape == given.shape
    assert abs(torch.corrcoef(torch.stack([random.flatten(), given.flatten()]))[0, 1]) < 0.2
    assert random.std() == pytest.approx(float(given.std()), rel=0.2)


def test_training_moves_code_embeddings_and_pair_weights_but_not_what_was_passed(trained):
    passed, codes = tables(), semantic_ids()
    model = train_motor(cycle_split(), codes, passed, replace(SMALL, epochs=1))
    for modality in (TEXT, VISUAL):
        assert torch.equal(passed[modality], tables()[modality])
        assert torch.equal(codes[modality], semantic_ids()[modality])
    start = TokenCrossNetwork(semantic_ids(), tables(), SMALL)
    items = model.sequences.item_embedding
    held = start.tokens.unique()
    assert ((items.code_embeddings - start.code_embeddings)[held].abs().sum(dim=1) > 0).all()
    above = torch.ones(5, 5).triu(diagonal=1).bool()
    assert (items.pair_weights != start.pair_weights)[above].all()


def test_training_is_reproducible_by_seed():
    config = replace(SMALL, epochs=2)
    first, again, other = (
        train_motor(cycle_split(), semantic_ids(), tables(), replace(config, seed=seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first.item_embeddings(), again.item_embeddings())
    assert not torch.equal(first.item_embeddings(), other.item_embeddings())


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    config = replace(SMALL, epochs=1, pretrained=False)
    train_motor(cycle_split(), semantic_ids(), tables(), config)
    assert torch.equal(torch.rand(3), expected)


def test_training_stops_early_and_keeps_the_best_epoch():
    validations = []

    def watch(progress):
        assert progress.stage == "motor"
        if "validation_ndcg@10" in progress.metrics:
            validations.append(progress.metrics["validation_ndcg@10"])

    split = cycle_split()
    config = replace(SMALL, epochs=200, patience=3)
    model = train_motor(split, semantic_ids(), tables(), config, watch)
    assert len(validations) < 200
    assert int(np.argmax(validations)) == len(validations) - 4
    kept = evaluate(model.score, split.validation_histories(), split.validation_target)
    assert kept.masked["ndcg@10"] == pytest.approx(max(validations))
    assert not model.training


def test_one_modality_is_enough():
    codes, embeddings = {TEXT: semantic_ids()[TEXT]}, {TEXT: tables()[TEXT]}
    model = train_motor(cycle_split(), codes, embeddings, replace(SMALL, epochs=1))
    assert model.score([np.array([3])]).shape == (1, ITEMS)


@pytest.mark.parametrize(
    ("field", "codes", "embeddings"),
    [
        ("codes", {}, {}),
        ("code_embeddings", semantic_ids(), {TEXT: tables()[TEXT]}),
        ("codes", {**semantic_ids(), TEXT: semantic_ids()[TEXT][:-1]}, tables()),
        ("code_embeddings", semantic_ids(), {**tables(), TEXT: tables()[TEXT][..., :6]}),
        ("codes.text", {**semantic_ids(), TEXT: semantic_ids()[TEXT][:, :1]}, tables()),
        ("codes.visual", {**semantic_ids(), VISUAL: semantic_ids()[VISUAL] + 3}, tables()),
        ("codes.visual", {**semantic_ids(), VISUAL: semantic_ids()[VISUAL] - 1}, tables()),
    ],
)
def test_codes_and_embeddings_that_do_not_fit_are_named(field, codes, embeddings):
    with pytest.raises(InvalidInputError) as caught:
        train_motor(cycle_split(), codes, embeddings, SMALL)
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"heads": 3}, {"loss": "hinge"}])
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        replace(SMALL, **wrong)
