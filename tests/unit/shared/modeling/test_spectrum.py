import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.spectrum import collapsed_share, log_singular_values


def with_singular_values(*singular_values):
    generator = torch.Generator().manual_seed(0)
    size = len(singular_values)
    left = torch.linalg.qr(torch.randn(20, size, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    return left @ torch.diag(torch.tensor(singular_values, dtype=torch.float64)) @ right.T


def test_the_spectrum_is_the_log_of_the_values_over_the_largest():
    spectrum = log_singular_values(with_singular_values(50.0, 5.0, 0.5, 0.005))
    assert spectrum.tolist() == pytest.approx([0.0, -1.0, -2.0, -4.0])


def test_the_spectrum_does_not_depend_on_scale():
    table = with_singular_values(3.0, 2.0, 1.0)
    torch.testing.assert_close(log_singular_values(1000 * table), log_singular_values(table))


def test_a_projected_table_collapses_beyond_its_first_dimension():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(100, 8, generator=generator)
    projected = low @ torch.randn(8, 32, generator=generator)
    assert collapsed_share(projected) == pytest.approx(24 / 32)
    assert torch.isfinite(log_singular_values(projected)).all()


def test_fewer_items_than_dimensions_count_as_collapsed():
    assert collapsed_share(torch.eye(4, 16)) == pytest.approx(12 / 16)


@pytest.mark.parametrize(
    "table", [torch.zeros(3, 3), torch.zeros(3), torch.zeros(0, 4), torch.tensor([[float("nan")]])]
)
def test_a_table_without_a_spectrum_is_refused(table):
    with pytest.raises(InvalidInputError, match="embeddings"):
        log_singular_values(table)
