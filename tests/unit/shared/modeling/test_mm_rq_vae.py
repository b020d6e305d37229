import json
from dataclasses import replace

import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling import residual_quantizer
from shared.modeling.losses import info_nce, mmd2
from shared.modeling.mm_rq_vae import MMRQVAE, train_mm_rq_vae
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import MMRQVAEConfig
from shared.modeling.residual_quantizer import ResidualQuantizer, code_statistics

C, T, V = Modality.COLLABORATIVE, Modality.TEXT, Modality.VISUAL
CONFIG = MMRQVAEConfig(dimension=16, hidden=24, levels=3, codebook_size=16, epochs=10, seed=5)
LONG = replace(CONFIG, batch_size=50, learning_rate=3e-3, epochs=20)


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
    return train_mm_rq_vae(items(), CONFIG)


def test_every_item_gets_codes_of_every_modality(trained):
    codes = trained.codes(items())
    assert list(codes) == [C, T, V]
    for rows in codes.values():
        assert rows.dtype == torch.int64
        assert rows.shape == (200, 3)
        assert rows.min() >= 0
        assert rows.max() < 16


def test_codebooks_are_well_used_at_any_scale_of_the_inputs(trained):
    for rows in trained.codes(items()).values():
        statistics = code_statistics(rows, 16)
        assert min(statistics["usage"]) > 0.8
        assert min(statistics["perplexity"]) > 8
        assert statistics["collision_rate"] < 0.2


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_the_codes_of_an_item_do_not_depend_on_its_batch(trained, batch_size):
    embeddings = items()
    together = trained.codes(embeddings)
    for j, vectors in embeddings.items():
        parts = [trained.codes({j: block})[j] for block in vectors.split(batch_size)]
        assert torch.equal(torch.cat(parts), together[j])


def test_no_items_get_no_codes(trained):
    assert trained.codes({T: torch.empty(0, 20)})[T].shape == (0, 3)


def test_quantized_embeddings_are_sums_of_code_embeddings(trained):
    codes = trained.codes(items())
    for j, quantized in trained.quantized(codes).items():
        table = trained.code_embeddings(j)
        assert table.shape == (3, 16, 16)
        summed = sum(table[level][codes[j][:, level]] for level in range(3))
        torch.testing.assert_close(quantized, summed)


def test_quantized_embeddings_are_near_what_was_encoded(trained):
    embeddings = items()
    quantized = trained.quantized(trained.codes(embeddings))
    for j, vectors in embeddings.items():
        z = trained.tower(j).encode(vectors).detach()
        assert (z - quantized[j]).square().mean() < 0.2 * (z - z.mean(dim=0)).square().mean()


def test_training_is_reproducible_by_seed(trained):
    again = train_mm_rq_vae(items(), CONFIG)
    other = train_mm_rq_vae(items(), replace(CONFIG, seed=6))
    assert torch.equal(again.code_embeddings(T), trained.code_embeddings(T))
    assert not torch.equal(other.code_embeddings(T), trained.code_embeddings(T))


def test_training_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train_mm_rq_vae(items(50), replace(CONFIG, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_model_gives_equal_codes(trained, tmp_path):
    trained.save(tmp_path / "tokenizer")
    loaded = MMRQVAE.load(tmp_path / "tokenizer")
    assert loaded.config == trained.config
    assert loaded.modalities == trained.modalities
    codes, expected = loaded.codes(items()), trained.codes(items())
    assert all(torch.equal(codes[j], expected[j]) for j in (C, T, V))
    assert torch.equal(loaded.quantized(codes)[V], trained.quantized(expected)[V])


def test_a_model_saved_before_there_were_switches_still_loads(trained, tmp_path):
    trained.save(tmp_path)
    file = tmp_path / "mm_rq_vae.json"
    document = json.loads(file.read_text())
    for name in ("gradient", "k_means", "balanced", "revival"):
        del document["config"][name]
    file.write_text(json.dumps(document))
    loaded = MMRQVAE.load(tmp_path)
    assert loaded.config == trained.config
    assert torch.equal(loaded.codes(items())[V], trained.codes(items())[V])


ORDINARY = {"k_means", "balanced", "revival", "straight"}


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, ORDINARY),
        ({"k_means": False}, ORDINARY - {"k_means"}),
        ({"balanced": False}, ORDINARY - {"balanced"}),
        ({"revival": False}, ORDINARY - {"revival"}),
        # Rotation ends as straight through does, from the turned vector.
        ({"gradient": "rotation"}, ORDINARY | {"rotated"}),
    ],
)
def test_a_switch_leaves_out_its_own_step_and_no_other(monkeypatch, changes, steps):
    seen = set()

    def watched(name, function, is_seen=lambda *arguments: True):
        def call(*arguments):
            if is_seen(*arguments):
                seen.add(name)
            return function(*arguments)

        return call

    for name, method in (("k_means", "initialise"), ("revival", "revive_dead_codes")):
        monkeypatch.setattr(
            ResidualQuantizer, method, watched(name, getattr(ResidualQuantizer, method))
        )
    forward = watched("balanced", ResidualQuantizer.forward, lambda *a: a[2:] not in ((), (None,)))
    monkeypatch.setattr(ResidualQuantizer, "forward", forward)
    for name in ("straight", "rotated"):
        monkeypatch.setattr(
            residual_quantizer, name, watched(name, getattr(residual_quantizer, name))
        )
    config = replace(CONFIG, batch_size=50, epochs=4, revival_epochs=1, **changes)
    train_mm_rq_vae({T: items()[T]}, config)
    assert seen == steps


@pytest.mark.parametrize("modalities", [[C], [T], [C, V], [T, V]])
def test_any_set_of_modalities_can_be_trained_and_aligned_where_c_is_there(modalities):
    embeddings = {j: vectors for j, vectors in items(60).items() if j in modalities}
    seen = []
    model = train_mm_rq_vae(
        embeddings, replace(CONFIG, epochs=1), lambda progress: seen.append(progress.metrics)
    )
    assert set(model.codes(embeddings)) == set(modalities)
    aligned = C in modalities and len(modalities) > 1
    assert all(("alignment" in metrics) == aligned for metrics in seen)


@pytest.mark.parametrize("reconstruction", ["mmd", "mse", "mmd+mse"])
def test_training_lowers_every_kind_of_reconstruction_loss(reconstruction):
    losses = []
    train_mm_rq_vae(
        items(),
        replace(LONG, reconstruction=reconstruction),
        lambda progress: losses.append(progress.metrics["reconstruction"]),
    )
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("alignment", "measure"),
    [("info_nce", lambda a, b: info_nce(a, b, 0.1)), ("mmd", mmd2)],
)
def test_a_heavy_alignment_brings_the_modalities_together(alignment, measure):
    def distance(beta):
        config = replace(LONG, alignment=alignment, beta=beta)
        model = train_mm_rq_vae(items(), config)
        quantized = model.quantized(model.codes(items()))
        return (
            measure(quantized[C], quantized[T]).item() + measure(quantized[C], quantized[V]).item()
        )

    assert distance(beta=10.0) < 0.8 * distance(beta=0.0)


def test_progress_counts_every_step_and_can_stop_the_training():
    class StopError(Exception):
        pass

    steps = []

    def watch(progress):
        steps.append((progress.done, progress.total))
        if progress.done == 3:
            raise StopError

    with pytest.raises(StopError):
        train_mm_rq_vae(items(), replace(CONFIG, batch_size=50, epochs=2), watch)
    assert steps == [(1, 8), (2, 8), (3, 8)]


def test_steps_are_capped():
    steps = []
    config = replace(CONFIG, batch_size=50, max_steps=6)
    train_mm_rq_vae(items(), config, lambda progress: steps.append(progress.done))
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_codebook_size_follows_the_catalogue_when_not_given():
    model = train_mm_rq_vae(items(150), replace(CONFIG, codebook_size=None, epochs=1))
    assert model.codebook_size == 16


def test_fewer_items_than_codes_can_be_trained_on():
    model = train_mm_rq_vae(items(5), replace(CONFIG, epochs=2))
    assert model.codes(items(5))[C].shape == (5, 3)


@pytest.mark.parametrize(
    ("embeddings", "field"),
    [
        ({}, "embeddings"),
        ({C: torch.ones(3, 2), T: torch.ones(4, 2)}, "embeddings"),
        ({C: torch.ones(0, 2)}, "embeddings"),
        ({V: torch.full((3, 2), float("nan"))}, "embeddings.visual"),
        ({V: torch.ones(3)}, "embeddings.visual"),
    ],
)
def test_embeddings_that_cannot_be_trained_on_are_refused(embeddings, field):
    with pytest.raises(InvalidInputError) as caught:
        train_mm_rq_vae(embeddings, CONFIG)
    assert caught.value.fields[0].field == field


def test_embeddings_of_another_dimension_are_refused(trained):
    with pytest.raises(InvalidInputError, match=r"embeddings\.text: must be \[n, 20\]"):
        trained.codes({T: torch.ones(2, 21)})


def test_an_unknown_modality_is_refused():
    model = train_mm_rq_vae({T: items(40)[T]}, replace(CONFIG, epochs=1))
    with pytest.raises(InvalidInputError, match="visual is not one of"):
        model.codes({V: torch.ones(1, 30)})


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 0},
        {"temperature": 0.0},
        {"beta": -1.0},
        {"reconstruction": "huber"},
        {"gradient": "none"},
    ],
)
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)
