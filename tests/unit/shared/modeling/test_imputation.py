import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidInputError
from shared.modeling.imputation import (
    DISTANCE,
    Content,
    blend,
    content_similarities,
    impute,
    neighbour_weights,
)
from shared.modeling.modality import Modality


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def content_of(**modalities):
    vectors = {Modality(name): rows for name, rows in modalities.items()}
    return Content(
        vectors, {j: torch.ones(len(rows), dtype=torch.bool) for j, rows in vectors.items()}
    )


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_weights_are_not_negative_and_sum_to_one(similarities):
    weights = neighbour_weights(torch.tensor(similarities, dtype=torch.float64))
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1)


def test_weights_are_proportional_to_positive_similarities():
    weights = neighbour_weights(torch.tensor([0.6, 0.2, -0.5], dtype=torch.float64))
    assert weights.tolist() == pytest.approx([0.75, 0.25, 0.0])


def test_neighbours_that_are_all_unlike_count_alike():
    assert neighbour_weights(torch.tensor([-0.1, -0.9])).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("similarities", [[], [0.5, float("nan")]])
def test_no_neighbours_and_nan_are_refused(similarities):
    with pytest.raises(InvalidInputError, match="similarities"):
        neighbour_weights(torch.tensor(similarities))


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(0, 50))
def test_a_blend_of_equal_vectors_is_that_vector_a_little_nearer_to_the_mean(k, seed):
    vector = normal(5, seed=seed)
    weights = neighbour_weights(normal(k, seed=seed + 1).abs())
    around = normal(5, seed=seed + 2)
    expected = around + DISTANCE * (vector - around)
    torch.testing.assert_close(blend(vector.expand(k, 5), weights, around), expected)


def test_a_blend_lies_where_the_mean_points_and_nearly_as_far_away_as_its_vectors():
    around = torch.tensor([10.0, 20.0])
    right, up = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
    blended = blend(around + torch.stack([right, up]), torch.tensor([0.5, 0.5]), around) - around
    torch.testing.assert_close(blended / blended.norm(), torch.tensor([1.5, 0.5]) / 2.5**0.5)
    assert blended.norm().item() == pytest.approx(DISTANCE * 2)


def test_a_blend_of_opposite_vectors_is_what_they_lie_around():
    around = torch.tensor([0.5, 7.0])
    vectors = around + torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert blend(vectors, torch.tensor([0.5, 0.5]), around).tolist() == around.tolist()


def test_what_all_rows_have_in_common_does_not_make_an_estimate_longer():
    text, table = normal(30, 4), normal(30, 3, seed=1)
    present, common = torch.arange(30) % 3 != 0, torch.tensor([100.0, 0.0, -50.0])
    content = content_of(text=text)
    torch.testing.assert_close(
        impute(table + common, present, content), impute(table, present, content) + common
    )


def test_similarity_is_the_cosine_of_the_normalised_vectors_side_by_side():
    text, image = normal(6, 3), normal(6, 4, seed=1)
    similarities = content_similarities(
        content_of(text=text, visual=image), content_of(text=text, visual=image)
    )
    joined = torch.cat(
        [text / text.norm(dim=1, keepdim=True), image / image.norm(dim=1, keepdim=True)], dim=1
    )
    joined = joined / joined.norm(dim=1, keepdim=True)
    torch.testing.assert_close(similarities, joined @ joined.T)


def test_a_modality_that_one_side_lacks_is_not_compared():
    text, image = normal(3, 3), normal(3, 4, seed=1)
    both = content_of(text=text, visual=image)
    lacking = Content(
        both.vectors,
        {
            Modality.TEXT: torch.tensor([True, True, False]),
            Modality.VISUAL: torch.tensor([True, False, False]),
        },
    )
    similarities = content_similarities(both, lacking)
    text_only = content_similarities(content_of(text=text), content_of(text=text))
    torch.testing.assert_close(similarities[:, 1], text_only[:, 1])
    assert similarities[:, 2].tolist() == [-1, -1, -1]


def test_a_missing_vector_is_a_blend_of_its_nearest_neighbours():
    text = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, 0.0]])
    table = torch.tensor([[2.0], [4.0], [100.0], [float("nan")]])
    present = torch.tensor([True, True, True, False])
    near = 1 / (1 + 0.01) ** 0.5
    mean = (2 + 4 + 100) / 3
    result = impute(table, present, content_of(text=text), neighbours=2)
    assert result[:3].tolist() == table[:3].tolist()
    # Both lie below the mean: nearly as far below it as they do in the weighted mean.
    distance = ((mean - 2) + (mean - 4) * near) / (1 + near)
    assert result[3].item() == pytest.approx(mean - DISTANCE * distance)


def test_an_item_like_no_other_gets_the_mean():
    text = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    table = torch.tensor([[2.0], [4.0], [0.0]])
    result = impute(table, torch.tensor([True, True, False]), content_of(text=text))
    assert result[2].item() == pytest.approx(3.0)


def test_imputing_does_not_depend_on_what_stood_in_the_missing_rows():
    text, table = normal(30, 4), normal(30, 3, seed=1)
    present = torch.arange(30) % 3 != 0
    other = torch.where(present.unsqueeze(1), table, torch.full_like(table, 1e6))
    torch.testing.assert_close(
        impute(table, present, content_of(text=text)),
        impute(other, present, content_of(text=text)),
    )


def test_nothing_to_estimate_from_is_an_error():
    with pytest.raises(InvalidInputError, match="present"):
        impute(normal(2, 3), torch.zeros(2, dtype=torch.bool), content_of(text=normal(2, 4)))


def test_content_of_another_length_is_refused():
    with pytest.raises(InvalidInputError, match="differ in length"):
        impute(normal(2, 3), torch.ones(2, dtype=torch.bool), content_of(text=normal(3, 4)))
