import json

import pytest
import torch

from shared.errors import InvalidInputError
from shared.modeling.mm_rq_vae import MMRQVAE
from shared.modeling.modality import Modality
from shared.modeling.quantizer_config import MMRQVAEConfig, RQKMeansConfig, quantizer_config
from shared.modeling.quantizer_kinds import load_quantizer, train_quantizer
from shared.modeling.rq_kmeans import RQKMeans

T = Modality.TEXT
AUTOENCODER = MMRQVAEConfig(dimension=8, levels=2, codebook_size=4, hidden=8, epochs=1, seed=3)
K_MEANS = RQKMeansConfig(dimension=8, levels=2, codebook_size=4, seed=3)


@pytest.mark.parametrize(("config", "kind"), [(AUTOENCODER, MMRQVAE), (K_MEANS, RQKMeans)])
def test_the_config_decides_what_is_trained_and_the_folder_what_is_loaded(config, kind, tmp_path):
    embeddings = {T: torch.randn(30, 5, generator=torch.Generator().manual_seed(0))}
    trained = train_quantizer(embeddings, config)
    trained.save(tmp_path)
    loaded = load_quantizer(tmp_path)
    assert type(trained) is type(loaded) is kind
    assert (loaded.config, loaded.levels, loaded.codebook_size) == (config, 2, 4)
    assert torch.equal(loaded.codes(embeddings)[T], trained.codes(embeddings)[T])


def test_a_model_saved_before_there_were_kinds_is_an_mm_rq_vae(tmp_path):
    embeddings = {T: torch.randn(30, 5, generator=torch.Generator().manual_seed(0))}
    trained = train_quantizer(embeddings, AUTOENCODER)
    trained.save(tmp_path)
    document = json.loads((tmp_path / "mm_rq_vae.json").read_text())
    for name in ("kind", "gradient", "k_means", "balanced", "revival"):
        del document["config"][name]
    (tmp_path / "mm_rq_vae.json").write_text(json.dumps(document))
    loaded = load_quantizer(tmp_path)
    assert loaded.config == AUTOENCODER
    assert torch.equal(loaded.codes(embeddings)[T], trained.codes(embeddings)[T])


def test_a_folder_without_a_quantizer_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"^quantizer: .* mm_rq_vae, rq_kmeans"):
        load_quantizer(tmp_path)


def test_another_kind_keeps_what_both_have():
    assert quantizer_config(AUTOENCODER, {"kind": "rq_kmeans"}, "quantizer") == K_MEANS
    changed = quantizer_config(AUTOENCODER, {"kind": "rq_kmeans", "levels": 3}, "quantizer")
    assert (changed.levels, changed.codebook_size) == (3, 4)
    back = quantizer_config(K_MEANS, {"kind": "mm_rq_vae", "epochs": 9}, "quantizer")
    assert (back.dimension, back.seed, back.epochs) == (8, 3, 9)


def test_the_same_kind_keeps_all_else():
    changed = quantizer_config(AUTOENCODER, {"kind": "mm_rq_vae", "beta": 0}, "quantizer")
    assert (changed.beta, changed.hidden, changed.epochs) == (0.0, 8, 1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "vq"}, "quantizer.kind"),
        ({"kind": ["rq_kmeans"]}, "quantizer.kind"),
        ({"kind": None}, "quantizer.kind"),
        ({"kind": "rq_kmeans", "alignment": "mmd"}, "quantizer.alignment"),
        ({"kind": "rq_kmeans", "iterations": 0}, "quantizer.iterations"),
        ({"iterations": 5}, "quantizer.iterations"),
        ({"gradient": "sideways"}, "quantizer.gradient"),
    ],
)
def test_what_a_kind_does_not_have_is_named(changes, field):
    with pytest.raises(InvalidInputError) as caught:
        quantizer_config(AUTOENCODER, changes, "quantizer")
    assert [problem.field for problem in caught.value.fields] == [field]
