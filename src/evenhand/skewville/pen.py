"""A drawing surface in picture units (64 x 64) over a supersampled Pillow canvas."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

SIZE = 64
SUPERSAMPLING = 3

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Point = tuple[float, float]


class Pen:
    """Draws shapes given in units of the final picture; `shifted` moves and scales what follows."""

    def __init__(self) -> None:
        side = SIZE * SUPERSAMPLING
        self._image = Image.new("RGB", (side, side))
        self._draw = ImageDraw.Draw(self._image)
        self._offset = (0.0, 0.0)
        self._scale = 1.0

    def move(self, dx: float, dy: float, scale: float = 1.0) -> None:
        """Shift and scale (about the centre of the picture) everything drawn from now on."""
        self._offset = (dx, dy)
        self._scale = scale

    def _xy(self, x: float, y: float) -> Point:
        centre = SIZE / 2
        return (
            ((x - centre) * self._scale + centre + self._offset[0]) * SUPERSAMPLING,
            ((y - centre) * self._scale + centre + self._offset[1]) * SUPERSAMPLING,
        )

    def _box(self, box: Box) -> Sequence[Point]:
        return [self._xy(box[0], box[1]), self._xy(box[2], box[3])]

    def _width(self, width: float) -> int:
        return max(1, round(width * SUPERSAMPLING * self._scale))

    def rect(self, box: Box, fill: Colour) -> None:
        self._draw.rectangle(self._box(box), fill=fill)

    def oval(self, box: Box, fill: Colour | None = None, outline: Colour | None = None, width: float = 1) -> None:
        self._draw.ellipse(self._box(box), fill=fill, outline=outline, width=self._width(width))

    def slice(self, box: Box, start: float, end: float, fill: Colour) -> None:
        self._draw.pieslice(self._box(box), start, end, fill=fill)

    def arc(self, box: Box, start: float, end: float, fill: Colour, width: float = 1) -> None:
        self._draw.arc(self._box(box), start, end, fill=fill, width=self._width(width))

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon([self._xy(*p) for p in points], fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 1) -> None:
        self._draw.line([self._xy(*p) for p in points], fill=fill, width=self._width(width), joint="curve")

    def picture(self, light: float = 1.0) -> Image.Image:
        """The finished picture at 64 x 64, multiplied by `light` (1 leaves it as drawn)."""
        image = self._image.reduce(SUPERSAMPLING)
        return image if light == 1.0 else image.point([min(255, round(v * light)) for v in range(256)] * 3)
