import numpy as np
import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.sasrec import SASRec
from shared.modeling.sasrec_config import SASRecConfig
from shared.modeling.sequence_part import SequencePart

ITEMS = 9
HISTORIES = [np.array([3, 1, 4]), np.array([5]), np.array([8, 2, 6, 5, 3]), np.array([], int)]


@pytest.fixture(params=["relative", "absolute"])
def sasrec(request):
    torch.manual_seed(0)
    config = SASRecConfig(dimension=8, feedforward=12, max_length=4, positions=request.param)
    model = SASRec(ITEMS, config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        model.item_embedding.weight[ITEMS] = 0
    return model


def part_of(sasrec, weight):
    return SequencePart.of(sasrec, sasrec.collaborative_embeddings(), weight)


def scores(part):
    return part.states(HISTORIES) @ part.scoring_rows().T


def test_its_scores_are_sasrecs_times_the_weight(sasrec):
    torch.testing.assert_close(scores(part_of(sasrec, 2.0)), 2 * sasrec.score(HISTORIES))


def test_it_reads_and_ranks_items_that_sasrec_never_met(sasrec):
    part = part_of(sasrec, 1.0)
    grown = torch.cat([part.items, part.items[3:4]])
    with_new, with_old = [np.array([1, ITEMS])], [np.array([1, 3])]
    states = part.states(with_new, grown)
    torch.testing.assert_close(states, part.states(with_old))
    ranked = (states @ part.scoring_rows(grown).T)[0]
    torch.testing.assert_close(ranked[ITEMS], ranked[3])


def test_it_is_made_again_from_its_state_and_settings(sasrec):
    part = part_of(sasrec, 0.5)
    document = part.as_dict()
    again = SequencePart.around(part.state_dict(), document["config"], document["weight"])
    torch.testing.assert_close(scores(again), scores(part))


def test_what_sasrec_learns_later_does_not_change_it(sasrec):
    part = part_of(sasrec, 0.5)
    before = scores(part)
    with torch.no_grad():
        for weight in sasrec.parameters():
            weight.zero_()
    assert torch.equal(scores(part), before)


def test_it_learns_nothing_more(sasrec):
    part = part_of(sasrec, 1.0)
    assert not any(weight.requires_grad for weight in part.parameters())
    assert not part.reader.training


def test_a_weight_of_0_or_less_is_refused(sasrec):
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="sequence_weight"):
            part_of(sasrec, weight)
