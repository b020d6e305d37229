import torch

from experiments.methods.beams import Beams, ancestry, continued, first_beams

CPU = torch.device("cpu")
NONE = -torch.inf


def test_the_first_beam_is_the_root_with_probability_one():
    beams = first_beams(3, CPU)
    assert beams.nodes.tolist() == beams.scores.tolist() == [[0]] * 3


def test_the_best_continuations_of_all_beams_are_taken_in_order():
    zeros = torch.zeros(1, 2, dtype=torch.int64)
    beams = Beams(torch.tensor([[4, 7]]), torch.tensor([[-1.0, -2.0]]), zeros, zeros)
    steps = torch.tensor([[[-3.0, -0.5, -1.0], [-0.1, -2.0, -0.2]]])
    children = torch.tensor([[10, 11, 12, 20, 21, 22]])
    best = continued(beams, steps, children, width=3)
    torch.testing.assert_close(best.scores, torch.tensor([[-1.5, -2.0, -2.1]]))
    assert best.nodes.tolist() == [[11, 12, 20]]
    assert best.parents.tolist() == [[0, 0, 1]]
    assert best.codes.tolist() == [[1, 2, 0]]


def test_codes_that_lead_nowhere_are_never_taken():
    steps = torch.tensor([[[-0.1, -5.0, -0.2]]])
    best = continued(first_beams(1, CPU), steps, torch.tensor([[-1, 6, -1]]), width=2)
    assert best.nodes[0, 0] == 6
    assert best.scores.tolist() == [[-5.0, NONE]]


def test_a_beam_sees_what_its_parent_saw_and_itself():
    sees = torch.tensor([[[True, True, False], [True, False, True]]])
    zeros = torch.zeros(1, 3)
    beams = Beams(zeros.long(), zeros, torch.tensor([[1, 0, 1]]), zeros.long())
    assert ancestry(sees, beams)[0].int().tolist() == [
        [1, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 0, 1, 0, 0, 1],
    ]
