"""The product pictures of the synthetic shop: a silhouette, a colour, a pattern, on a pale ground.

Every product is drawn in two forms, soft and angular, in a square of 100 x 100 units. The body
takes the pattern; the trim (handles, legs, dials) is dark.
"""

import io
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

IMAGE_SIZE = 112
_SCALE = 2  # drawn twice as large, then reduced: smooth edges
_SIDE = IMAGE_SIZE * _SCALE
_JPEG_QUALITY = 88

Colour = tuple[int, int, int]
# main colour, second colour of the pattern, trim
PALETTES: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((200, 38, 42), (250, 214, 196), (84, 16, 20)),
    ((28, 84, 176), (196, 220, 250), (14, 32, 76)),
    ((40, 128, 66), (206, 236, 190), (16, 54, 30)),
    ((244, 190, 24), (255, 246, 204), (122, 84, 8)),
    ((38, 38, 42), (168, 168, 176), (12, 12, 14)),
    ((228, 110, 168), (255, 228, 240), (128, 38, 86)),
    ((112, 62, 150), (222, 204, 242), (52, 24, 76)),
    ((238, 122, 28), (255, 226, 190), (118, 54, 8)),
)
PATTERNS = ("plain", "stripes", "dots", "checks", "zigzag", "bands")
FORMS = ("soft", "angular")


class Sketch:
    """A mask to draw on in units of 0..100, stretched and shifted as the item at hand is."""

    def __init__(self, stretch: tuple[float, float], shift: tuple[float, float]) -> None:
        self.mask = Image.new("L", (_SIDE, _SIDE), 0)
        self._draw = ImageDraw.Draw(self.mask)
        self._stretch, self._shift = stretch, shift

    def _place(self, points: Sequence[float]) -> list[float]:
        unit = _SIDE / 100.0
        return [
            (50.0 + (value - 50.0) * self._stretch[n % 2] + self._shift[n % 2]) * unit
            for n, value in enumerate(points)
        ]

    def polygon(self, *points: float, fill: int = 255) -> None:
        self._draw.polygon(self._place(points), fill=fill)

    def ellipse(self, *box: float, fill: int = 255) -> None:
        self._draw.ellipse(self._place(box), fill=fill)

    def box(self, *box: float, radius: float = 0.0, fill: int = 255) -> None:
        self._draw.rounded_rectangle(self._place(box), radius * _SIDE / 100.0, fill=fill)

    def line(self, *points: float, width: float = 3.0, fill: int = 255) -> None:
        self._draw.line(self._place(points), fill=fill, width=self._pen(width), joint="curve")

    def arc(self, *box: float, start: float, end: float, width: float = 3.0) -> None:
        self._draw.arc(self._place(box), start, end, fill=255, width=self._pen(width))

    @staticmethod
    def _pen(width: float) -> int:
        return max(round(width * _SIDE / 100.0), 1)


def _tote(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.box(20, 40, 80, 88, radius=18)
        trim.arc(33, 14, 67, 66, start=180, end=360, width=3.5)
    else:
        body.polygon(16, 40, 84, 40, 76, 88, 24, 88)
        trim.line(34, 42, 34, 16, 66, 16, 66, 42, width=3.5)


def _backpack(body: Sketch, trim: Sketch, soft: bool) -> None:
    body.box(26, 18, 74, 90, radius=22 if soft else 4)
    trim.arc(41, 8, 59, 28, start=180, end=360, width=3.5)
    trim.box(33, 58, 67, 82, radius=8 if soft else 0)
    body.box(22, 56, 28, 84, radius=3 if soft else 0)
    body.box(72, 56, 78, 84, radius=3 if soft else 0)
    trim.line(32, 44, 68, 44, width=2)


def _lamp(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.ellipse(24, 10, 76, 66)
        body.box(20, 44, 80, 70, fill=0)
        trim.ellipse(36, 82, 64, 92)
    else:
        body.polygon(38, 12, 62, 12, 78, 46, 22, 46)
        trim.box(34, 85, 66, 91)
    trim.box(48, 44, 52, 88)


def _sneaker(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.polygon(12, 40, 34, 40, 46, 52, 70, 58, 70, 72, 12, 72)
        body.ellipse(54, 54, 92, 80)
        trim.box(10, 70, 92, 79, radius=5)
    else:
        body.polygon(12, 34, 38, 34, 54, 54, 90, 62, 92, 72, 12, 72)
        trim.polygon(10, 71, 94, 71, 90, 80, 10, 80)
    for n in range(3):
        trim.line(36 + 7 * n, 50 + 4 * n, 43 + 7 * n, 44 + 4 * n, width=2)


def _boot(body: Sketch, trim: Sketch, soft: bool) -> None:
    body.box(28, 14, 56, 78, radius=6 if soft else 0)
    if soft:
        body.ellipse(36, 52, 86, 94)
        body.box(20, 84, 90, 98, fill=0)
        trim.box(26, 82, 86, 89, radius=3)
    else:
        body.polygon(28, 60, 56, 56, 86, 70, 86, 84, 28, 84)
        trim.polygon(26, 83, 88, 83, 88, 91, 50, 91, 48, 87, 44, 91, 26, 91)
    for n in range(4):
        trim.line(46, 24 + 10 * n, 57, 22 + 10 * n, width=2)


def _mug(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.box(20, 30, 66, 82, radius=16)
        trim.arc(54, 38, 88, 70, start=270, end=90, width=5)
    else:
        body.polygon(18, 26, 68, 26, 62, 84, 24, 84)
        trim.line(66, 36, 86, 36, 80, 68, 63, 68, width=5)
    trim.ellipse(22 if soft else 18, 22, 64 if soft else 68, 32)


def _chair(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.ellipse(26, 8, 70, 50)
        body.ellipse(22, 48, 80, 64)
    else:
        for n in range(4):
            body.box(28 + 12 * n, 10, 34 + 12 * n, 50)
        body.box(26, 8, 72, 15)
        body.polygon(24, 50, 76, 50, 82, 60, 20, 60)
    for left, right in ((26, 22), (74, 78), (36, 35), (64, 65)):
        trim.line(left, 58, right, 94, width=3)


def _vase(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.ellipse(26, 38, 74, 90)
        body.box(42, 20, 58, 46, radius=3)
        trim.ellipse(38, 15, 62, 24)
    else:
        body.polygon(40, 18, 60, 18, 56, 38, 74, 60, 62, 90, 38, 90, 26, 60, 44, 38)
        trim.box(38, 14, 62, 20)


def _clock(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.ellipse(14, 14, 86, 86)
        trim.arc(12, 12, 88, 88, start=0, end=360, width=4)
    else:
        body.box(16, 16, 84, 84)
        trim.line(16, 16, 84, 16, 84, 84, 16, 84, 16, 14, width=4)
    for x, y in ((50, 22), (78, 50), (50, 78), (22, 50)):
        trim.ellipse(x - 3, y - 3, x + 3, y + 3)
    trim.line(50, 50, 50, 28, width=3)
    trim.line(50, 50, 66, 58, width=4)


def _shirt(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.polygon(34, 18, 66, 18, 90, 38, 80, 50, 70, 44, 70, 88, 30, 88, 30, 44, 20, 50, 10, 38)
        body.ellipse(40, 10, 60, 28, fill=0)
        trim.arc(39, 9, 61, 29, start=10, end=170, width=2.5)
    else:
        body.polygon(30, 16, 70, 16, 94, 30, 90, 52, 72, 46, 76, 88, 24, 88, 28, 46, 10, 52, 6, 30)
        body.polygon(40, 14, 60, 14, 50, 34, fill=0)
        trim.line(39, 16, 50, 36, 61, 16, width=2.5)


def _watch(body: Sketch, trim: Sketch, soft: bool) -> None:
    body.box(40, 6, 60, 94, radius=6 if soft else 0)
    if soft:
        trim.ellipse(26, 28, 74, 72)
        trim.ellipse(31, 33, 69, 67, fill=0)
        body.ellipse(31, 33, 69, 67, fill=0)
    else:
        trim.box(28, 30, 72, 70)
        trim.box(33, 35, 67, 65, fill=0)
        body.box(33, 35, 67, 65, fill=0)
    trim.line(50, 50, 50, 38, width=2)
    trim.line(50, 50, 59, 54, width=2)


def _bottle(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.box(35, 30, 65, 92, radius=13)
        body.box(43, 20, 57, 40, radius=4)
        trim.box(42, 8, 58, 22, radius=5)
    else:
        body.polygon(44, 20, 56, 20, 56, 28, 66, 38, 66, 92, 34, 92, 34, 38, 44, 28)
        trim.box(42, 8, 58, 20)


def _teapot(body: Sketch, trim: Sketch, soft: bool) -> None:
    if soft:
        body.ellipse(26, 34, 76, 84)
        body.polygon(68, 62, 92, 36, 96, 40, 76, 74)
        trim.arc(10, 42, 40, 76, start=80, end=280, width=4)
        trim.ellipse(46, 24, 56, 34)
        trim.ellipse(38, 33, 64, 40)
    else:
        body.polygon(34, 36, 66, 36, 78, 84, 22, 84)
        body.polygon(68, 64, 90, 40, 96, 40, 74, 78)
        trim.line(32, 42, 10, 42, 10, 74, 25, 74, width=4)
        trim.box(46, 24, 54, 34)
        trim.box(34, 33, 66, 38)


def _umbrella(body: Sketch, trim: Sketch, soft: bool) -> None:
    trim.line(50, 12, 50, 84, width=3)
    trim.arc(50, 76, 64, 92, start=0, end=180, width=3)
    if soft:
        body.ellipse(10, 18, 90, 88)
        body.box(6, 53, 94, 92, fill=0)
        for left in (10, 36.7, 63.3):
            body.ellipse(left, 48, left + 26.7, 60, fill=0)
    else:
        body.polygon(50, 16, 78, 30, 92, 56, 71, 50, 50, 56, 29, 50, 8, 56, 22, 30)


_DRAWINGS: dict[str, Callable[[Sketch, Sketch, bool], None]] = {
    "tote": _tote, "backpack": _backpack, "lamp": _lamp, "sneaker": _sneaker, "boot": _boot,
    "mug": _mug, "chair": _chair, "vase": _vase, "clock": _clock, "shirt": _shirt, "watch": _watch,
    "bottle": _bottle, "teapot": _teapot, "umbrella": _umbrella,
}  # fmt: skip


def draw_product(
    product: str, palette: int, pattern: int, form: int, rng: np.random.Generator
) -> bytes:
    """A JPEG of `IMAGE_SIZE` pixels a side; `rng` decides proportions, place and pattern offset."""
    stretch = (float(rng.uniform(0.82, 1.02)), float(rng.uniform(0.82, 1.02)))
    shift = (float(rng.uniform(-4, 4)), float(rng.uniform(-3, 3)))
    body, trim = Sketch(stretch, shift), Sketch(stretch, shift)
    _DRAWINGS[product](body, trim, FORMS[form] == "soft")
    offset = rng.integers(0, _SIDE, size=2)
    picture = _ground().copy()
    picture.paste((205, 205, 208), mask=_shadow(shift))
    picture.paste(ImageChops.offset(_texture(palette, pattern), *map(int, offset)), mask=body.mask)
    picture.paste((0, 0, 0), mask=ImageChops.multiply(body.mask, _shade()))
    picture.paste(PALETTES[palette][2], mask=trim.mask)
    small = picture.reduce(_SCALE)
    if rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


@cache
def _ground() -> Image.Image:
    """A pale studio: a little darker towards the floor."""
    column = np.linspace(250, 228, _SIDE).astype(np.uint8)
    return Image.fromarray(np.repeat(np.repeat(column[:, None, None], _SIDE, 1), 3, 2))


@cache
def _shade() -> Image.Image:
    """Light from the left: black over the right of the body, 35 % at the most."""
    row = (np.linspace(0.0, 1.0, _SIDE) ** 2 * 90).astype(np.uint8)
    return Image.fromarray(np.repeat(row[None, :], _SIDE, 0))


def _shadow(shift: tuple[float, float]) -> Image.Image:
    mask = Image.new("L", (_SIDE, _SIDE), 0)
    unit = _SIDE / 100.0
    middle = 50.0 + shift[0]
    box = [(middle - 34) * unit, 84 * unit, (middle + 34) * unit, 96 * unit]
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


@cache
def _texture(palette: int, pattern: int) -> Image.Image:
    """The pattern in its two colours; it repeats at the edges, so it may be shifted around."""
    y, x = np.mgrid[0:_SIDE, 0:_SIDE]
    period = _SIDE // 8
    match PATTERNS[pattern]:
        case "plain":
            second = np.zeros((_SIDE, _SIDE), dtype=bool)
        case "stripes":
            second = (x % period) < period // 2
        case "dots":
            centre = (period - 1) / 2
            second = (x % period - centre) ** 2 + (y % period - centre) ** 2 < (period * 0.32) ** 2
        case "checks":
            second = ((x // period) + (y // period)) % 2 == 0
        case "zigzag":
            wave = np.abs(x % period - period // 2)
            second = (y + wave) % period < period // 2
        case _:
            second = (y % (2 * period)) < period // 2
    colours = np.array(PALETTES[palette], dtype=np.uint8)
    return Image.fromarray(np.where(second[..., None], colours[1], colours[0]))
