import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidInputError
from shared.modeling.residual_quantizer import (
    Balance,
    ResidualQuantizer,
    balanced_assignment,
    code_statistics,
    codebook_size_for,
    k_means,
    rotated,
    squared_distances,
    straight,
)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def _unit(vector):
    return vector / vector.norm()


@pytest.fixture
def quantizer():
    quantizer = ResidualQuantizer(levels=3, size=7, dimension=5).double()
    with torch.no_grad():
        quantizer.codebooks.copy_(normal(3, 7, 5, seed=1))
    return quantizer


def brute_force(z, codebooks):
    """Eq. 2, one vector, one level and one code at a time."""
    all_codes, all_residuals, all_sums = [], [], []
    for vector in z:
        residual, total, codes, residuals = vector, torch.zeros_like(vector), [], []
        for codebook in codebooks:
            distances = [float(((residual - code) ** 2).sum()) for code in codebook]
            best = distances.index(min(distances))
            codes.append(best)
            residuals.append(residual)
            residual = residual - codebook[best]
            total = total + codebook[best]
        all_codes.append(codes)
        all_residuals.append(torch.stack(residuals))
        all_sums.append(total)
    return torch.tensor(all_codes), torch.stack(all_residuals), torch.stack(all_sums)


def test_residual_quantization_equals_brute_force(quantizer):
    z = normal(40, 5)
    codes, residuals, sums = brute_force(z, quantizer.codebooks.detach())
    result = quantizer(z)
    assert torch.equal(result.codes, codes)
    torch.testing.assert_close(result.residuals, residuals)
    torch.testing.assert_close(result.quantized, sums)
    torch.testing.assert_close(quantizer.decode(codes), sums)


def test_the_gradient_passes_straight_through_to_z_and_not_to_the_codes(quantizer):
    z = normal(4, 5).requires_grad_()
    direction = normal(4, 5, seed=2)
    (quantizer(z).quantized * direction).sum().backward()
    torch.testing.assert_close(z.grad, direction)
    assert quantizer.codebooks.grad is None


def test_rotation_gives_the_same_values_and_another_gradient(quantizer):
    turning = ResidualQuantizer(levels=3, size=7, dimension=5, gradient="rotation").double()
    turning.load_state_dict(quantizer.state_dict())
    z = normal(40, 5).requires_grad_()
    result, expected = turning(z), quantizer(z)
    assert torch.equal(result.codes, expected.codes)
    torch.testing.assert_close(result.quantized, expected.quantized, rtol=0, atol=1e-12)
    direction = normal(40, 5, seed=2)
    (result.quantized * direction).sum().backward()
    assert (z.grad - direction).abs().min() > 1e-6
    assert turning.codebooks.grad is None


def rotation_between(a, b):
    """The matrix that turns a onto the direction of b in their plane and nothing beyond it."""
    first = a / a.norm()
    second = b - (b @ first) * first
    second = second / second.norm()
    cosine = (a @ b) / (a.norm() * b.norm())
    sine = (1 - cosine**2).sqrt()
    plane = torch.stack([first, second], dim=1)
    turn = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    return torch.eye(len(a), dtype=a.dtype) - plane @ plane.T + plane @ turn @ plane.T


def gradient_through(passing, z, quantized, direction):
    z = z.clone().requires_grad_()
    (passing(z, quantized) * direction).sum().backward()
    return z.grad


def test_the_rotated_gradient_is_that_of_the_scaled_rotation():
    z, quantized, direction = normal(30, 6), normal(30, 6, seed=1), normal(30, 6, seed=2)
    torch.testing.assert_close(rotated(z, quantized), quantized)
    gradient = gradient_through(rotated, z, quantized, direction)
    for row in range(30):
        rotation = rotation_between(z[row], quantized[row])
        torch.testing.assert_close(rotation @ z[row] / z[row].norm(), _unit(quantized[row]))
        scale = quantized[row].norm() / z[row].norm()
        torch.testing.assert_close(gradient[row], scale * rotation.T @ direction[row])


def test_rotation_keeps_the_angle_and_the_relative_length_of_the_gradient():
    z, quantized, direction = normal(30, 6), normal(30, 6, seed=1), normal(30, 6, seed=2)
    gradient = gradient_through(rotated, z, quantized, direction)
    scale = quantized.norm(dim=1) / z.norm(dim=1)
    torch.testing.assert_close(gradient.norm(dim=1), scale * direction.norm(dim=1))
    torch.testing.assert_close(
        torch.cosine_similarity(gradient, z), torch.cosine_similarity(direction, quantized)
    )


def test_rotation_of_a_vector_onto_itself_is_straight_through():
    z, direction = normal(4, 6), normal(4, 6, seed=2)
    torch.testing.assert_close(gradient_through(rotated, z, z, direction), direction)


@pytest.mark.parametrize("zero", ["z", "quantized", "both"])
def test_where_there_is_no_direction_rotation_is_straight_through(zero):
    z, quantized, direction = normal(3, 6), normal(3, 6, seed=1), normal(3, 6, seed=2)
    if zero in ("z", "both"):
        z[1] = 0
    if zero in ("quantized", "both"):
        quantized[1] = 0
    torch.testing.assert_close(rotated(z, quantized), quantized)
    gradient = gradient_through(rotated, z, quantized, direction)
    torch.testing.assert_close(gradient[1], direction[1])
    assert (gradient[[0, 2]] - direction[[0, 2]]).abs().min() > 1e-6


def test_opposite_vectors_pass_values_and_finite_gradients():
    z, direction = normal(3, 6), normal(3, 6, seed=2)
    torch.testing.assert_close(rotated(z, -2 * z), -2 * z)
    gradient = gradient_through(rotated, z, -2 * z, direction)
    torch.testing.assert_close(gradient.norm(dim=1), 2 * direction.norm(dim=1))


def test_straight_through_leaves_the_gradient_alone():
    z, quantized, direction = normal(3, 6), normal(3, 6, seed=1), normal(3, 6, seed=2)
    torch.testing.assert_close(straight(z, quantized), quantized)
    assert torch.equal(gradient_through(straight, z, quantized, direction), direction)


def test_each_level_moves_its_own_codes_only(quantizer):
    result = quantizer(normal(4, 5))
    (result.residuals[:, 2].square().sum() + result.code_embeddings[:, 0].sum()).backward()
    gradient = quantizer.codebooks.grad
    assert gradient[0].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0


def test_initialisation_leaves_less_to_every_further_level(quantizer):
    torch.manual_seed(0)
    z = normal(200, 5)
    quantizer.initialise(z, iterations=10)
    residuals = quantizer(z).residuals.detach().square().sum(dim=2).mean(dim=0)
    assert residuals[0] > residuals[1] > residuals[2]


def test_every_code_is_in_use_after_revival():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(levels=2, size=8, dimension=4)
    with torch.no_grad():
        quantizer.codebooks[:, 1:] += 1000
    z = normal(100, 4).float()
    assert code_statistics(quantizer(z).codes, 8)["dead_codes"] == [7, 7]
    assert quantizer.revive_dead_codes(z) == 14
    assert code_statistics(quantizer(z).codes, 8)["dead_codes"] == [0, 0]
    assert quantizer.revive_dead_codes(z) == 0


@pytest.mark.parametrize("codes", [[[0, 1]], [[0, 1, 7]], [[0, -1, 2]]])
def test_codes_that_do_not_exist_are_refused(quantizer, codes):
    with pytest.raises(InvalidInputError, match="codes"):
        quantizer.decode(torch.tensor(codes))


def test_balanced_assignment_is_even_where_the_nearest_code_is_not():
    vectors = 0.1 * normal(120, 4)
    codebook = normal(6, 4, seed=1)
    codebook[0] = 0
    distances = squared_distances(vectors, codebook)
    nearest = torch.bincount(distances.argmin(dim=1), minlength=6)
    balanced = torch.bincount(balanced_assignment(distances, Balance()), minlength=6)
    assert nearest.max() > 100
    assert balanced.min() >= 12
    assert balanced.max() <= 28


def test_balanced_assignment_keeps_an_even_nearest_assignment():
    codebook = 10 * torch.eye(4, dtype=torch.float64)
    vectors = codebook.repeat(5, 1) + 0.1 * normal(20, 4)
    codes = balanced_assignment(squared_distances(vectors, codebook), Balance())
    assert codes.tolist() == [0, 1, 2, 3] * 5


def test_k_means_finds_separate_clusters():
    torch.manual_seed(0)
    centres = 100 * normal(4, 3)
    vectors = centres.repeat(25, 1) + normal(100, 3, seed=1)
    found = k_means(vectors, 4, iterations=20)
    assert squared_distances(centres, found).min(dim=1).values.max() < 1


def test_k_means_of_fewer_vectors_than_codes_contains_them_all():
    torch.manual_seed(0)
    vectors = normal(3, 2)
    found = k_means(vectors, 8, iterations=5)
    assert found.shape == (8, 2)
    assert squared_distances(vectors, found).min(dim=1).values.max() < 1e-3


@settings(deadline=None)
@given(st.integers(1, 10_000_000))
def test_codebooks_are_powers_of_two_with_eight_items_a_code(items):
    size = codebook_size_for(items)
    assert 4 <= size <= 256
    assert size & (size - 1) == 0
    assert size in (4, 256) or 8 * size <= items < 16 * size


def test_code_statistics_equal_a_hand_computed_example():
    codes = torch.tensor([[0, 0], [0, 1], [1, 2], [1, 2]])
    statistics = code_statistics(codes, 4)
    assert statistics["usage"] == [0.5, 0.75]
    assert statistics["dead_codes"] == [2, 1]
    assert statistics["perplexity"] == pytest.approx([2.0, 2**1.5])
    assert statistics["collision_rate"] == 0.5
