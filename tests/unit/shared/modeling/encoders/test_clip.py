"""CLIP and SigLIP pairs of the hub's layout."""

import json

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer

from shared.errors import UnavailableError
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder

TEXTS = ["red shoes", "a table lamp of brass for the morning", "lamp"]


@pytest.fixture(params=["tiny_clip_pair", "tiny_siglip_pair"])
def pair(request):
    return request.getfixturevalue(request.param)


def test_texts_come_out_as_the_model_by_itself_encodes_them(pair):
    encoder = load_text_encoder(f"clip:{pair}", "cpu")
    model, tokenizer = AutoModel.from_pretrained(pair).eval(), AutoTokenizer.from_pretrained(pair)
    padding = "max_length" if model.config.model_type == "siglip" else False
    with torch.no_grad():
        expected = [
            model.get_text_features(
                tokenizer(text, padding=padding, max_length=24, return_tensors="pt")["input_ids"]
            ).pooler_output[0]
            for text in TEXTS
        ]
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (3, encoder.dimension)
    torch.testing.assert_close(
        vectors, F.normalize(torch.stack(expected), dim=-1), atol=1e-5, rtol=0
    )


def test_images_come_out_as_the_model_by_itself_encodes_them(pair, circle, grid):
    encoder = load_image_encoder(f"clip:{pair}", "cpu")
    images = [circle("red"), grid("blue"), circle("green", size=(64, 300))]
    pixels = torch.stack([encoder.prepare(image) for image in images])
    with torch.no_grad():
        features = AutoModel.from_pretrained(pair).eval().get_image_features(pixels).pooler_output
    assert encoder.dimension == features.shape[1]
    torch.testing.assert_close(
        encoder.encode(images), F.normalize(features, dim=-1), atol=1e-5, rtol=0
    )


def test_long_texts_are_cut_to_what_the_model_takes(pair):
    encoder = load_text_encoder(f"clip:{pair}", "cpu")
    assert encoder.encode(["jogging in the park " * 200]).shape == (1, encoder.dimension)


def test_no_texts_give_no_vectors(pair):
    encoder = load_text_encoder(f"clip:{pair}", "cpu")
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UnavailableError, match="bert, not a CLIP or SigLIP"):
        load_text_encoder(f"clip:{tmp_path}", "cpu")
