import math

import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling import spectrum as spectra
from shared.modeling.spectrum import sampled_rows, spectrum_of


def with_singular_values(*singular_values):
    generator = torch.Generator().manual_seed(0)
    size = len(singular_values)
    left = torch.linalg.qr(torch.randn(20, size, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    return left @ torch.diag(torch.tensor(singular_values, dtype=torch.float64)) @ right.T


def test_the_spectrum_is_the_log_of_the_values_over_the_largest():
    spectrum = spectrum_of(with_singular_values(50.0, 5.0, 0.5, 0.005))
    assert spectrum.log10 == pytest.approx([0.0, -1.0, -2.0, -4.0])
    assert (spectrum.dimensions, spectrum.healthy, spectrum.collapsed) == (4, 3, 0.25)


def test_the_spectrum_does_not_depend_on_scale():
    table = with_singular_values(3.0, 2.0, 1.0)
    assert spectrum_of(1000 * table).log10 == pytest.approx(spectrum_of(table).log10)


def test_a_projected_table_collapses_beyond_its_first_dimension():
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(100, 8, generator=generator)
    spectrum = spectrum_of(low @ torch.randn(8, 32, generator=generator))
    assert spectrum.collapsed == pytest.approx(24 / 32)
    assert all(math.isfinite(value) for value in spectrum.log10)


def test_fewer_items_than_dimensions_count_as_collapsed():
    spectrum = spectrum_of(torch.eye(4, 16))
    assert len(spectrum.log10) == spectrum.healthy == 4
    assert spectrum.collapsed == pytest.approx(12 / 16)


def test_a_spectrum_as_json_keeps_its_figures():
    document = spectrum_of(with_singular_values(50.0, 5.0, 0.005)).as_dict()
    assert document == {
        "log10": [0.0, -1.0, -4.0],
        "dimensions": 3,
        "collapsed": pytest.approx(1 / 3),
    }


def test_rows_are_sampled_evenly_and_only_from_large_tables(monkeypatch):
    monkeypatch.setattr(spectra, "MOST_ROWS", 4)
    assert sampled_rows(3).tolist() == [0, 1, 2]
    assert sampled_rows(4).tolist() == [0, 1, 2, 3]
    assert sampled_rows(10).tolist() == [0, 2, 5, 7]
    table = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    assert spectrum_of(table) == spectrum_of(table[[0, 2, 5, 7]])


@pytest.mark.parametrize(
    "table", [torch.zeros(3, 3), torch.zeros(3), torch.zeros(0, 4), torch.tensor([[float("nan")]])]
)
def test_a_table_without_a_spectrum_is_refused(table):
    with pytest.raises(InvalidInputError, match="embeddings"):
        spectrum_of(table)
