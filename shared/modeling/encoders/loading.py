"""Encoders by the name of their source.

    minilm                          text   384-d   packaged weights
    efficientnet-lite0              image  1280-d  packaged weights
    clip:<id or folder>             both   any CLIP or SigLIP pair
    llm2clip[:<clip>[,<llm>]]       both   1280-d  hub ids or folders; Microsoft's pair by default

Each module imports its libraries when it is asked for, so the small profile never loads the rest.
"""

import torch

from shared.errors import InvalidInputError
from shared.modeling.encoders.protocols import ImageEncoder, TextEncoder


def pick_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def load_text_encoder(source: str, device: str = "auto") -> TextEncoder:
    """The text encoder of a source.

    Raises:
        InvalidInputError: no text encoder has this name.
        UnavailableError: its package is not installed, or its weights cannot be had.
    """
    kind, _, place = source.partition(":")
    if source == "minilm":
        from shared.modeling.encoders.minilm import load_minilm

        return load_minilm(pick_device(device))
    if kind == "clip" and place:
        from shared.modeling.encoders.clip import load_clip_text

        return load_clip_text(place, pick_device(device))
    if kind == "llm2clip":
        from shared.modeling.encoders.llm2clip import load_llm2clip_text

        return load_llm2clip_text(place, pick_device(device))
    raise InvalidInputError.of(
        "encoders.text", f"{source!r} is none of minilm, clip:<id or folder>, llm2clip[:<...>]"
    )


def load_image_encoder(source: str, device: str = "auto") -> ImageEncoder:
    """The image encoder of a source.

    Raises:
        InvalidInputError: no image encoder has this name.
        UnavailableError: its package is not installed, or its weights cannot be had.
    """
    kind, _, place = source.partition(":")
    if source == "efficientnet-lite0":
        from shared.modeling.encoders.efficientnet import load_efficientnet_lite0

        return load_efficientnet_lite0(pick_device(device))
    if kind == "clip" and place:
        from shared.modeling.encoders.clip import load_clip_image

        return load_clip_image(place, pick_device(device))
    if kind == "llm2clip":
        from shared.modeling.encoders.llm2clip import load_llm2clip_image

        return load_llm2clip_image(place, pick_device(device))
    raise InvalidInputError.of(
        "encoders.image",
        f"{source!r} is none of efficientnet-lite0, clip:<id or folder>, llm2clip[:<...>]",
    )
