"""Preprocessing of images."""

import numpy as np
import pytest
import torch
from PIL import Image

from shared.modeling.encoders.pixels import Preprocessing

PREPROCESSING = Preprocessing(resize=32, size=28, mean=(127.0,) * 3, std=(128.0,) * 3)


@pytest.mark.parametrize("size", [(320, 320), (640, 320), (320, 640), (7, 5), (1, 1), (5000, 2)])
def test_every_shape_comes_out_square(size):
    pixels = PREPROCESSING.crop(Image.new("RGB", size, (10, 20, 30)))
    assert (pixels.shape, pixels.dtype) == ((3, 28, 28), torch.uint8)
    assert pixels[:, 14, 14].tolist() == [10, 20, 30]


def test_the_crop_is_that_of_resizing_first_and_cutting_the_middle():
    smooth = np.stack(np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 64)), -1)
    image = Image.fromarray(np.dstack([smooth, smooth[..., :1]]).astype(np.uint8))
    whole = image.resize((48, 32), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((10, 2, 38, 30))).astype(int)
    difference = PREPROCESSING.crop(image).permute(1, 2, 0).numpy() - expected
    assert np.abs(difference).max() <= 2


def test_values_are_centred_and_scaled():
    pixels = torch.tensor([127, 255, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    normalised = PREPROCESSING.normalise(pixels)
    assert normalised.flatten().tolist() == [0.0, 1.0, -127 / 128]
