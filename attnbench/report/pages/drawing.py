"""Lines, marks and texts on a plane, as SVG for pages and as PNG for what shows no SVG."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

# Okabe and Ito's colours, told apart by colour-blind readers too; the first is of what has no category.
LIGHT = ("#222222", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
DARK = ("#dddddd", "#56b4e9", "#ff8c42", "#2fd6a3", "#e79fc9", "#f0e442", "#9fd8ff")
SIDES = (0, 4, 3, 5, 40, 6, 8)  # corners of each colour's mark, 0 a circle, 40 a star: a second way to tell
SIZE, FONT, DENSITY = 5.0, 11, 2  # px: radius of a mark, height of letters; pixels of PNG for one of SVG


@dataclass(frozen=True)
class Line:
    """From one point to another; `kind` is one of KINDS."""

    x1: float
    y1: float
    x2: float
    y2: float
    kind: str
    colour: int = 0


@dataclass(frozen=True)
class Mark:
    """A point of data, in the colour and shape of its group, with the words that a pointer brings up."""

    x: float
    y: float
    colour: int
    says: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"


KINDS = {"grid": (1, 0.13), "zero": (1, 0.55), "reach": (1.5, 0.6), "frontier": (1.5, 0.8)}  # width, opacity
Shape = Line | Mark | Text


def svg(width: int, height: int, shapes: Sequence[Shape]) -> str:
    """The shapes as one SVG, readable on light and dark ground."""
    drawn = "\n".join(map(_svg, shapes))
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_style()}</style>'
    return f'{head}\n<rect class="ground" width="{width}" height="{height}"/>\n{drawn}\n</svg>\n'


def _style() -> str:
    def colours(ground: str, palette: Sequence[str]) -> str:
        own = "".join(f".c{i}{{fill:{c};stroke:{c}}}" for i, c in enumerate(palette))
        return f".ground{{fill:{ground}}}text{{fill:{palette[0]}}}{own}"

    kinds = "".join(f".{k}{{stroke-width:{w};opacity:{o}}}" for k, (w, o) in KINDS.items())
    dark = f"@media(prefers-color-scheme:dark){{{colours('#0d1117', DARK)}}}"
    return f"text{{font:{FONT}px sans-serif;stroke:none}}{kinds}{colours('#ffffff', LIGHT)}{dark}"


def _svg(shape: Shape) -> str:
    if isinstance(shape, Text):
        anchor = f'text-anchor="{shape.anchor}"'
        return f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" {anchor}>{escape(shape.text)}</text>'
    if isinstance(shape, Line):
        ends = f'x1="{shape.x1:.1f}" y1="{shape.y1:.1f}" x2="{shape.x2:.1f}" y2="{shape.y2:.1f}"'
        return f'<line class="{shape.kind} c{shape.colour}" {ends}/>'
    points = " ".join(f"{shape.x + x:.1f},{shape.y + y:.1f}" for x, y in _outline(SIDES[shape.colour], SIZE))
    title = f"<title>{escape(shape.says)}</title>" if shape.says else ""
    return f'<polygon class="c{shape.colour}" points="{points}">{title}</polygon>'


def _outline(sides: int, radius: float) -> list[tuple[float, float]]:
    """The corners of a mark around the origin, the first one on top."""
    count = {0: 24, 40: 10}.get(sides, sides)
    reach = [radius * (0.45 if sides == 40 and i % 2 else 1.0) for i in range(count)]
    angles = [2 * math.pi * i / count - math.pi / 2 for i in range(count)]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(reach, angles)]


def png(width: int, height: int, shapes: Sequence[Shape]) -> bytes:
    """The same on white ground."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width * DENSITY, height * DENSITY), "white")
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        if isinstance(shape, Text):
            where = shape.x * DENSITY, shape.y * DENSITY
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            draw.text(where, shape.text, LIGHT[0], _font(), anchor)
        elif isinstance(shape, Line):
            ends = [v * DENSITY for v in (shape.x1, shape.y1, shape.x2, shape.y2)]
            thick, opacity = KINDS[shape.kind]
            draw.line(ends, _faint(LIGHT[shape.colour], opacity), round(thick * DENSITY))
        else:
            stamp = _stamp(shape.colour)
            corner = [round(v * DENSITY - side / 2) for v, side in zip((shape.x, shape.y), stamp.size)]
            image.paste(LIGHT[shape.colour], (corner[0], corner[1]), stamp)
    written = io.BytesIO()
    image.quantize(palette=_palette(), dither=Image.Dither.NONE).save(written, "PNG", compress_level=6)
    return written.getvalue()


@cache
def _palette() -> "Image":
    """White, and every colour in steps away from it: half of the file, with edges as soft as before."""
    from PIL import Image

    steps = [step for colour in LIGHT for i in range(4, 32) for step in _faint(colour, i / 31)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(steps + [255] * (768 - len(steps)))
    return palette


@cache
def _font() -> "FreeTypeFont | ImageFont":
    """The letters that Pillow brings along: the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(FONT * DENSITY)


@cache
def _stamp(colour: int) -> "Image":
    """A mark as a mask with soft edges."""
    from PIL import Image, ImageDraw

    fine = 8
    side = int(2 * SIZE * DENSITY) + 2
    mask = Image.new("L", (side * fine, side * fine))
    corners = _outline(SIDES[colour], SIZE * DENSITY * fine)
    ImageDraw.Draw(mask).polygon([(x + side * fine / 2, y + side * fine / 2) for x, y in corners], 255)
    return mask.reduce(fine)


def _faint(colour: str, opacity: float) -> tuple[int, int, int]:
    """The colour on white at that opacity."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    red, green, blue = (round(255 - opacity * (255 - part)) for part in parts)
    return red, green, blue
