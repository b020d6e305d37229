"""Images from outside: bytes in, an RGB picture or a typed error out."""

import hashlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageOps, UnidentifiedImageError

from shared.errors import BrokenImageError, FieldProblem, PayloadTooLargeError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be, encoded (bytes) and decoded (pixels)."""

    max_bytes: int = 10 * 2**20
    max_pixels: int = 50_000_000


def image_sha256(data: bytes) -> str:
    """The name of an image: the hex SHA-256 of its bytes."""
    return hashlib.sha256(data).hexdigest()


def decode_image(data: bytes, *, field: str = "image", limits: ImageLimits) -> Image.Image:
    """The image upright (EXIF orientation applied), in RGB, transparent parts on white.

    Of an animation the first frame. Nothing is decoded before the size in the header is known to
    be within the limits.

    Raises:
        PayloadTooLargeError: too many bytes or pixels.
        BrokenImageError: no JPEG, PNG, WebP or GIF, or its data are damaged or cut off.
    """
    require_bytes_within(len(data), field=field, limits=limits)
    if not data:
        raise _broken(field, "is empty")
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(field, limits) from error
    except UnidentifiedImageError as error:
        raise _broken(field, "is not a readable JPEG, PNG, WebP or GIF image") from error
    except Exception as error:  # a damaged header can break a reader in any way
        raise _broken(field, f"cannot be read: {_cause(error)}") from error
    if image.width * image.height > limits.max_pixels:
        raise _too_many_pixels(field, limits, image)
    try:
        return _flat_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # as above: the readers' own errors share no base class
        raise _broken(field, f"cannot be decoded: {_cause(error)}") from error


def require_bytes_within(size: int, *, field: str, limits: ImageLimits) -> None:
    """Raises PayloadTooLargeError if an image of `size` bytes is above the limit."""
    if size > limits.max_bytes:
        raise _too_large(field, f"has more than {limits.max_bytes} bytes")


def _flat_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # convert() would clip 16-bit grey at 255; its high byte is the 8-bit picture.
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _broken(field: str, cause: str) -> BrokenImageError:
    return BrokenImageError(f"{field}: {cause}", fields=[FieldProblem(field, cause)])


def _too_many_pixels(
    field: str, limits: ImageLimits, image: Image.Image | None = None
) -> PayloadTooLargeError:
    size = "" if image is None else f" ({image.width} x {image.height})"
    return _too_large(field, f"has more than {limits.max_pixels} pixels{size}")


def _too_large(field: str, cause: str) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"{field}: {cause}", fields=[FieldProblem(field, cause)])
