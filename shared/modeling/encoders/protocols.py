"""What every encoder can do."""

from collections.abc import Sequence
from typing import Protocol

from PIL import Image
from torch import Tensor


class TextEncoder(Protocol):
    @property
    def dimension(self) -> int:
        """D_t."""

    @property
    def revision(self) -> str:
        """Changes when the weights or the preprocessing change: vectors of two do not compare."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """[n, D_t], float32 on the CPU, of L2 norm 1; a text's vector depends on that text only."""


class ImageEncoder(Protocol):
    @property
    def dimension(self) -> int:
        """D_v."""

    @property
    def revision(self) -> str:
        """Changes when the weights or the preprocessing change: vectors of two do not compare."""

    def prepare(self, image: Image.Image) -> Tensor:
        """An RGB image as the model takes it, [3, H, W]: small, whatever the image's size was."""

    def encode_prepared(self, pixels: Sequence[Tensor]) -> Tensor:
        """[n, D_v] from n prepared images, float32 on the CPU, of L2 norm 1."""

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        """[n, D_v] from n RGB images."""
