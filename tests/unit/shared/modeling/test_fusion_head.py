import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.fusion_head import FusionHead
from shared.modeling.item_encoder import ItemEncoder
from shared.modeling.modality import Modality

ITEMS, DIMENSION = 9, 6
FREQUENCY = torch.tensor([0, 1, 1, 2, 5, 9, 40, 0, 3])


@pytest.fixture
def in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(params=[tuple(Modality), (Modality.COLLABORATIVE, Modality.TEXT)])
def parts(request, in_float64):
    """An item encoder and a fusion head in which every weight is random, none zero."""
    torch.manual_seed(3)
    widths = {Modality.COLLABORATIVE: 4, Modality.TEXT: 8, Modality.VISUAL: 5}
    encoder = ItemEncoder(
        {m: torch.randn(ITEMS, widths[m]) for m in request.param},
        {m: torch.randint(3, (ITEMS, 2)) for m in request.param},
        {m: torch.randn(2, 3, DIMENSION) for m in request.param},
    )
    head = FusionHead(FREQUENCY, encoder.modalities, DIMENSION, temperature=0.7)
    for parameter in [*encoder.parameters(), *head.parameters()]:
        torch.nn.init.normal_(parameter)
    return encoder, head


def _score_by_the_equation(state, item, encoder, head):
    """Eq. 17 and 18 in loops over single numbers."""
    logs = [torch.log(q + 1.0) for q in FREQUENCY]
    q = (logs[item] - min(logs)) / (max(logs) - min(logs))
    hidden = [
        torch.tanh(head.widen.weight[unit, 0] * q + head.widen.bias[unit])
        for unit in range(len(head.widen.bias))
    ]
    exponentials = []
    for part in range(len(head.narrow.bias)):
        logit = head.narrow.bias[part]
        for unit, value in enumerate(hidden):
            logit = logit + head.narrow.weight[part, unit] * value
        exponentials.append(torch.exp(logit / 0.7))
    weights = [value / sum(exponentials) for value in exponentials]
    terms = [sum(state[d] * head.target_table[item, d] for d in range(DIMENSION))]
    for modality in encoder.modalities:
        weight, bias = encoder.projections[modality].weight, encoder.projections[modality].bias
        s = encoder.embeddings(modality)[item]
        term = torch.zeros(())
        for d in range(DIMENSION):
            projected = bias[d] + sum(weight[d, column] * s[column] for column in range(len(s)))
            term = term + state[d] * projected
        terms.append(term)
    return [w * term for w, term in zip(weights, terms, strict=True)]


def test_every_form_of_the_score_equals_the_equation_term_by_term(parts):
    encoder, head = parts
    states = torch.randn(3, DIMENSION)
    expected_parts = torch.stack([
        torch.stack([
            torch.stack(_score_by_the_equation(state, item, encoder, head))
            for item in range(ITEMS)
        ])
        for state in states
    ])  # fmt: skip
    expected = expected_parts.sum(dim=2)
    everything = torch.arange(ITEMS)
    close = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(head.scores_without_projection(states, encoder), expected, **close)
    torch.testing.assert_close(states @ head.fused_matrix(encoder).T, expected, **close)
    torch.testing.assert_close(
        head.score_parts(states, everything, encoder), expected_parts, **close
    )
    for many in (states, states.repeat(100, 1)):
        repeats = len(many) // len(states)
        torch.testing.assert_close(head.scores(many, encoder), expected.repeat(repeats, 1), **close)


def test_the_parts_of_a_score_add_up_to_it(parts):
    encoder, head = parts
    states, rows = torch.randn(4, DIMENSION), torch.tensor([7, 0, 3])
    score = head.scores(states, encoder)[:, rows]
    split = head.score_parts(states, rows, encoder)
    assert split.shape == (4, 3, len(head.part_names))
    torch.testing.assert_close(split.sum(dim=2), score)


def test_a_cold_item_gets_the_weights_of_frequency_zero(parts):
    encoder, head = parts
    given = {m: encoder.embeddings(m)[:2] for m in encoder.modalities}
    rows = head.cold_fused_rows(given, encoder, head.target_table[:2])
    # Item 0 was never seen in training, so as a new item with the same E_x row it scores the same.
    torch.testing.assert_close(rows[0], head.fused_matrix(encoder)[0])
    assert not torch.allclose(rows[1], head.fused_matrix(encoder)[1])


def test_without_an_imputed_row_a_cold_item_gets_the_mean_target_embedding(parts):
    encoder, head = parts
    given = {m: encoder.embeddings(m)[:2] for m in encoder.modalities}
    mean = head.target_table.mean(dim=0).expand(2, -1)
    torch.testing.assert_close(
        head.cold_fused_rows(given, encoder), head.cold_fused_rows(given, encoder, mean)
    )


def test_a_new_item_is_normalised_by_the_training_range():
    head = FusionHead(torch.tensor([1, 3, 7]), (), 2)
    q = head.normalize(torch.tensor([0, 1, 3, 7, 100]))
    torch.testing.assert_close(q, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_equal_frequencies_are_no_division_by_zero():
    head = FusionHead(torch.tensor([4, 4]), (), 2)
    assert head.normalized_frequency.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("frequency", "temperature", "field"),
    [([1, -1], 1.0, "frequency"), ([], 1.0, "frequency"), ([1], 0.0, "temperature")],
)
def test_wrong_settings_name_their_field(frequency, temperature, field):
    with pytest.raises(InvalidInputError, match=field):
        FusionHead(torch.tensor(frequency, dtype=torch.int64), (), 2, temperature=temperature)
