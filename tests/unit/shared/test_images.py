"""Images from outside: what is accepted, and what each refusal says."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.errors import BrokenImageError, PayloadTooLargeError
from shared.images import ImageLimits, decode_image, image_sha256

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)


def encoded(image, image_format, **options):
    stream = BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def gradient():
    rows = np.linspace(0, 255, 64, dtype=np.uint8)
    values = np.stack(np.broadcast_arrays(rows[:, None], rows[None], np.uint8(128)), -1)
    return Image.fromarray(values)


def png_claiming(width, height):
    """A PNG of a few bytes whose header claims a size: what a decompression bomb looks like."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_each_format_comes_out_as_rgb_of_its_size(image_format):
    image = decode_image(encoded(gradient(), image_format), limits=LIMITS)
    assert (image.mode, image.size) == ("RGB", (64, 64))
    difference = np.asarray(image).astype(int) - np.asarray(gradient())
    assert np.abs(difference).mean() < 12


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data, limits=LIMITS).getpixel((5, 5)) == (255, 0, 0)


def test_the_exif_orientation_is_applied():
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (0, 0, 20, 20))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    upright = decode_image(encoded(image, "PNG", exif=exif), limits=LIMITS)
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 0, 0)
    assert upright.getpixel((10, 35)) == (255, 255, 255)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_transparent_parts_come_out_white(image_format):
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 5, 10))
    flat = decode_image(encoded(image, image_format, lossless=True), limits=LIMITS)
    assert flat.getpixel((7, 5)) == (255, 255, 255)
    assert flat.getpixel((2, 5)) == (0, 0, 255)


def test_transparency_of_a_palette_comes_out_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    flat = decode_image(encoded(image, "PNG", transparency=1), limits=LIMITS)
    assert flat.getpixel((1, 1)) == (255, 255, 255)


def test_grey_of_16_bits_keeps_its_tones():
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = decode_image(encoded(Image.fromarray(grey), "PNG"), limits=LIMITS)
    difference = np.asarray(image)[..., 0].astype(int) - (grey >> 8)
    assert np.abs(difference).max() <= 1


def test_colours_of_print_come_out_as_rgb():
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = decode_image(data, limits=LIMITS).getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000), (1001, 1000)])
def test_too_many_pixels_are_refused_from_the_header_alone(width, height):
    with pytest.raises(PayloadTooLargeError, match="picture: has more than 1000000 pixels"):
        decode_image(png_claiming(width, height), field="picture", limits=LIMITS)


def test_too_many_bytes_are_refused():
    with pytest.raises(PayloadTooLargeError, match="image: has more than 1000000 bytes"):
        decode_image(bytes(1_000_001), limits=LIMITS)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_file_cut_off_is_refused_and_the_field_is_named(image_format):
    data = encoded(gradient(), image_format)
    with pytest.raises(BrokenImageError) as caught:
        decode_image(data[: len(data) // 2], field="image", limits=LIMITS)
    assert caught.value.fields[0].field == "image"
    assert caught.value.fields[0].message.startswith(("cannot", "is not a readable"))


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(BrokenImageError):
        decode_image(data, limits=LIMITS)


def test_formats_beyond_the_four_are_refused():
    with pytest.raises(BrokenImageError, match="JPEG, PNG, WebP or GIF"):
        decode_image(encoded(gradient(), "TIFF"), limits=LIMITS)


SAMPLES = [encoded(gradient(), name) for name in ("JPEG", "PNG", "WEBP", "GIF")]


@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_bytes_give_an_image_or_a_typed_error(sample, data):
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode_image(bytes(damaged), limits=LIMITS)
    except (BrokenImageError, PayloadTooLargeError):
        return
    assert image.mode == "RGB"


def test_the_name_of_an_image_is_the_hash_of_its_bytes():
    assert image_sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
