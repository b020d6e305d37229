"""Images to the tensors that image encoders take, with Pillow and numpy alone."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `resize`, the middle `size` x `size` cut out, (value - mean) / std.

    `mean` and `std` are on the scale of the pixel values, 0 to 255.
    """

    resize: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def crop(self, image: Image.Image) -> Tensor:
        """uint8 [3, size, size] of an RGB image."""
        # The crop is taken on the scale of the original: only what it keeps is resized, or a
        # picture a thousand times as long as wide would grow enormous.
        side = min(image.size) * self.size / self.resize
        left, top = (image.width - side) / 2, (image.height - side) / 2
        cut = image.resize(
            (self.size, self.size),
            Image.Resampling.BICUBIC,
            box=(left, top, left + side, top + side),
            reducing_gap=3.0,
        )
        return torch.from_numpy(np.array(cut)).permute(2, 0, 1).contiguous()

    def normalise(self, pixels: Tensor) -> Tensor:
        """float32 [n, 3, size, size] of uint8 of the same shape."""
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() - mean) / std
