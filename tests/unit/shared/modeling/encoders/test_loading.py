"""Sources of encoders by name."""

import pytest
import torch

from shared.errors import InvalidInputError, UnavailableError
from shared.modeling.encoders.loading import load_image_encoder, load_text_encoder, pick_device


@pytest.mark.parametrize("source", ["", "clip", "clip:", "efficientnet-lite0", "minilm:large"])
def test_an_unknown_text_source_is_refused_with_the_choice(source):
    with pytest.raises(InvalidInputError, match=r"encoders\.text: .* minilm, clip:"):
        load_text_encoder(source)


@pytest.mark.parametrize("source", ["", "clip", "minilm", "resnet"])
def test_an_unknown_image_source_is_refused_with_the_choice(source):
    with pytest.raises(InvalidInputError, match=r"encoders\.image: .* efficientnet-lite0, clip:"):
        load_image_encoder(source)


@pytest.mark.parametrize("source", ["clip:/no/such/folder", "llm2clip:/no/such/folder"])
def test_a_checkpoint_that_is_not_there_is_named(source):
    with pytest.raises(UnavailableError, match="/no/such/folder"):
        load_image_encoder(source)


@pytest.mark.parametrize("source", ["clip", "llm2clip"])
def test_a_folder_without_weights_is_refused(tmp_path, source):
    (tmp_path / "config.json").write_text('{"model_type": "clip", "vision_config": {}}')
    with pytest.raises(UnavailableError, match=r"holds no weights|cannot be read from"):
        load_image_encoder(f"{source}:{tmp_path}", "cpu")


def test_the_device_is_the_one_named_or_what_there_is():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
