import pytest
import torch

from services.ranking.scoring.coarse import Float16Matrix, Int8Matrix

CPU = torch.device("cpu")


@pytest.fixture(params=[Float16Matrix, Int8Matrix, "int8 without the processor's help"])
def make(request):
    def matrix(fused):
        if not isinstance(request.param, str):
            return request.param(fused, CPU)
        made = Int8Matrix(fused, CPU)
        made._multiplies_int8 = False
        return made

    return matrix


def directions(scores):
    """A request's scores may all be multiplied by one number."""
    return scores / scores.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(("items", "dimension"), [(1, 3), (700, 13), (40_000, 24)])
def test_scores_are_nearly_those_of_the_matrix(make, items, dimension):
    generator = torch.Generator().manual_seed(0)
    fused = torch.randn(items, dimension, generator=generator)
    fused *= torch.logspace(-1, 1, items).unsqueeze(1)
    states = torch.randn(5, dimension, generator=generator)
    matrix = make(fused)
    rows = torch.tensor([0, items, items + 70])
    fused = torch.cat([fused, torch.zeros(71, dimension)])
    fused[rows] = torch.randn(3, dimension, generator=generator)
    matrix.put(rows, fused[rows])
    found = torch.empty(5, items + 71)
    matrix.score(states, found)
    torch.testing.assert_close(
        directions(found), directions(states @ fused.T), atol=0.01, rtol=0.02
    )


def test_huge_tiny_and_zero_rows_are_no_trouble(make):
    fused = torch.tensor([[0.0, 0.0], [1e30, 0.0], [-1e30, 1e30], [0.0, 1e-30]])
    matrix = make(fused)
    matrix.put(torch.tensor([4]), torch.tensor([[1e36, 0.0]]))
    found = torch.empty(1, 5)
    matrix.score(torch.tensor([[1.0, 0.0]]), found)
    assert torch.isfinite(found).all()
    assert found.argmax() == 4
    assert found.argmin() == 2


def test_it_takes_what_it_says(make):
    fused = torch.randn(1000, 64)
    assert make(fused).bytes < 0.51 * fused.nbytes
