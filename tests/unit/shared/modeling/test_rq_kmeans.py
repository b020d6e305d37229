from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.kendall import kendall_tau
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import RQKMeansConfig
from shared.modeling.residual_quantizer import code_statistics
from shared.modeling.rq_kmeans import RQKMeans, train_rq_kmeans

C, T, V = Modality.COLLABORATIVE, Modality.TEXT, Modality.VISUAL
CONFIG = RQKMeansConfig(dimension=16, levels=3, codebook_size=16, seed=5)


def items(number=200):
    """Three noisy views of the same clustered items, on scales as unlike as real encoders' are."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(10, 8, generator=generator)
    latent = centres[torch.randint(10, (number,), generator=generator)]
    latent = latent + torch.randn(number, 8, generator=generator)
    return {
        j: scale * latent @ torch.randn(8, size, generator=generator) + offset
        for j, size, scale, offset in ((C, 12, 0.01, 0.0), (T, 20, 1.0, 5.0), (V, 30, 50.0, -9.0))
    }


@pytest.fixture(scope="module")
def trained():
    return train_rq_kmeans(items(), CONFIG)


def test_code_embeddings_have_the_shape_that_equation_16_takes(trained):
    codes = trained.codes(items())
    for j in (C, T, V):
        assert codes[j].shape == (200, 3)
        assert trained.code_embeddings(j).shape == (3, 16, 16)


def test_every_level_leaves_a_smaller_error(trained):
    codes = trained.codes(items())
    for j, vectors in items().items():
        z = trained.tower(j).encode(vectors).detach()
        table = trained.code_embeddings(j)
        errors = [z.square().mean()]
        for level in range(3):
            z = z - table[level][codes[j][:, level]]
            errors.append(z.square().mean())
        assert all(later < 0.8 * earlier for earlier, later in pairwise(errors))


def test_codes_are_used_evenly_at_any_scale_of_the_inputs(trained):
    for rows in trained.codes(items()).values():
        statistics = code_statistics(rows, 16)
        assert statistics["dead_codes"] == [0, 0, 0]
        assert min(statistics["perplexity"]) > 12
        assert statistics["collision_rate"] < 0.2


def test_z_has_unit_variance_a_dimension_and_the_geometry_of_the_embeddings(trained):
    for j, vectors in items().items():
        z = trained.tower(j).encode(vectors).detach()
        assert z.square().mean() == pytest.approx(1.0, rel=1e-4)
        assert kendall_tau(torch.pdist(vectors), torch.pdist(z)) > 0.999


def test_quantized_embeddings_keep_most_of_the_order_of_distances(trained):
    quantized = trained.quantized(trained.codes(items()))
    for j, vectors in items().items():
        assert kendall_tau(torch.pdist(vectors), torch.pdist(quantized[j])) > 0.8


def test_the_decoder_undoes_the_encoder(trained):
    for j, vectors in items().items():
        tower = trained.tower(j)
        decoded = tower.decode(tower.encode(vectors)).detach()
        torch.testing.assert_close(decoded, vectors, rtol=1e-3, atol=1e-3 * vectors.std().item())


def test_reconstruction_is_as_near_as_the_code_embeddings_are(trained):
    codes = trained.codes(items())
    quantized, reconstructed = trained.quantized(codes), trained.reconstructed(codes)
    for j, vectors in items().items():
        z = trained.tower(j).encode(vectors).detach()
        error = (vectors - reconstructed[j]).square().sum()
        variance = (vectors - vectors.mean(dim=0)).square().sum()
        assert error / variance == pytest.approx(
            float((z - quantized[j]).square().sum() / z.square().sum()), rel=1e-2
        )


def test_the_same_seed_gives_the_same_codes():
    first, again = train_rq_kmeans(items(), CONFIG), train_rq_kmeans(items(), CONFIG)
    other = train_rq_kmeans(items(), replace(CONFIG, seed=6))
    for j, codes in first.codes(items()).items():
        assert torch.equal(codes, again.codes(items())[j])
        assert not torch.equal(codes, other.codes(items())[j])


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train_rq_kmeans({T: items(50)[T]}, CONFIG)
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_model_gives_equal_codes(trained, tmp_path):
    trained.save(tmp_path / "tokenizer")
    loaded = RQKMeans.load(tmp_path / "tokenizer")
    assert loaded.config == trained.config
    assert loaded.modalities == trained.modalities
    codes, expected = loaded.codes(items()), trained.codes(items())
    assert all(torch.equal(codes[j], expected[j]) for j in (C, T, V))
    assert torch.equal(loaded.quantized(codes)[V], trained.quantized(expected)[V])


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_codes_of_an_item_do_not_depend_on_its_companions(trained, batch_size):
    embeddings = items()
    together = trained.codes(embeddings)
    for j, vectors in embeddings.items():
        parts = [trained.codes({j: block})[j] for block in vectors.split(batch_size)]
        assert torch.equal(torch.cat(parts), together[j])


def test_a_modality_that_was_not_trained_is_named():
    alone = train_rq_kmeans({C: items()[C]}, CONFIG)
    assert set(alone.codes({C: items()[C]})) == {C}
    with pytest.raises(InvalidInputError, match="visual is not one of"):
        alone.codes({V: items()[V]})


def test_progress_counts_every_level_and_what_it_leaves():
    seen = []
    train_rq_kmeans({C: items()[C], V: items()[V]}, CONFIG, seen.append)
    assert [(step.done, step.total) for step in seen] == [(n, 6) for n in range(1, 7)]
    left = [step.metrics["visual_variance_left"] for step in seen[3:]]
    assert 1 > left[0] > left[1] > left[2] > 0


def test_a_space_smaller_than_the_embeddings_keeps_their_main_directions():
    model = train_rq_kmeans(items(), replace(CONFIG, dimension=4))
    codes = model.codes(items())
    assert model.code_embeddings(V).shape == (3, 16, 4)
    for j, vectors in items().items():
        tau = kendall_tau(torch.pdist(vectors), torch.pdist(model.quantized(codes)[j]))
        assert tau > 0.5


def test_the_codebook_size_follows_the_catalogue_when_not_given():
    assert (
        train_rq_kmeans({T: items(150)[T]}, replace(CONFIG, codebook_size=None)).codebook_size == 16
    )


def test_fewer_items_than_codes_and_equal_items_can_be_coded():
    assert train_rq_kmeans(items(5), CONFIG).codes(items(5))[C].shape == (5, 3)
    equal = {T: torch.ones(40, 6)}
    codes = train_rq_kmeans(equal, CONFIG).codes(equal)[T]
    assert len(torch.unique(codes, dim=0)) == 1


@pytest.mark.parametrize(
    ("embeddings", "field"),
    [
        ({}, "embeddings"),
        ({C: torch.ones(3, 2), T: torch.ones(4, 2)}, "embeddings"),
        ({C: torch.ones(0, 2)}, "embeddings"),
        ({V: torch.full((3, 2), float("nan"))}, "embeddings.visual"),
    ],
)
def test_embeddings_that_cannot_be_trained_on_are_refused(embeddings, field):
    with pytest.raises(InvalidInputError) as caught:
        train_rq_kmeans(embeddings, CONFIG)
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"iterations": 0}, {"codebook_size": 1}])
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)
