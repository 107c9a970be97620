"""Layouts: what a tensor of some shape holds at a place, and a wrong reading of it refused."""

from dataclasses import dataclass

from attnbench.config.schema import Layout, Site
from attnbench.errors import UserError
from attnbench.grafting.call import grid
from attnbench.grafting.dry_run import Run, Shape

AXIS = {Layout.BCHW: 1, Layout.BTCHW: 1, Layout.BHWC: 3}  # of the channels in a map of four axes


@dataclass(frozen=True)
class Reading:
    """A tensor read as a map: its layout, channels, height and width, and the frames of a clip."""

    layout: Layout
    channels: int
    size: tuple[int, int]
    frames: int | None = None


def read(name: str, shape: Shape, site: Site, image: Shape, run: Run) -> Reading:
    """What a tensor of that shape holds in the site's layout, or, where it says none, in the network's.

    The layers that ran on a tensor of that shape tell its channels by their weights; where there are none,
    the map must have the image's proportions. Raises `UserError` where no reading is left.
    """
    clip = len(image) == 4
    frames = shape[0] if clip else None  # the dry run's batch is one clip, whose frames are images here
    if len(shape) == 5 and site.layout == Layout.BTCHW:
        return Reading(site.layout, shape[2], (shape[3], shape[4]), shape[1])
    if len(shape) == 4 and site.layout == Layout.BTJC:
        return Reading(site.layout, shape[2] * shape[3], (shape[2], shape[3]), shape[1])
    if len(shape) == 3 and site.layout == Layout.BNC:
        _check_batch(name, shape, image)
        return Reading(site.layout, shape[2], _grid(name, shape[1] - site.prefix, image), frames)
    if len(shape) == 4 and site.layout in AXIS and (clip or site.layout != Layout.BTCHW):
        _check_batch(name, shape, image)
        layout = _layout(name, shape, site, image, run)
        height = 2 if AXIS[layout] == 1 else 1
        return Reading(layout, shape[AXIS[layout]], (shape[height], shape[height + 1]), frames)
    raise UserError(
        f"{name}: a tensor of shape {shape} passes there, no map of layout {site.layout}{_hint(shape, image)}"
    )


def _check_batch(name: str, shape: Shape, image: Shape) -> None:
    """Raise `UserError` where something else than images, such as windows, are the batch."""
    batch = image[0] if len(image) == 4 else 1
    if image and shape[0] != batch:
        raise UserError(
            f"{name}: {shape[0]} parts of {'a clip' if batch > 1 else 'an image'} (windows?) pass there as a "
            f"batch, in shape {shape}; name a module that holds the whole map"
        )


def _layout(name: str, shape: Shape, site: Site, image: Shape, run: Run) -> Layout:
    """BCHW or BHWC: the site's, unless layers with weights, or else the proportions, say the other.

    A site that states nothing has BCHW, so what is found replaces that, and contradicts any other.
    """
    stated = AXIS[site.layout]
    known = run.channels.get(shape, set())
    possible = known or {axis for axis in (1, 3) if _proportional(shape, axis, image)}
    if stated in possible:
        return site.layout
    if possible and stated == 1:
        return Layout.BHWC
    why = f"layers there have {shape[1]} channels" if known else f"the image is {_text(image)}"
    raise UserError(
        f"{name}: shape {shape} is not a map of layout {site.layout} ({why}); possible: {_possible(shape)}"
    )


def _proportional(shape: Shape, axis: int, image: Shape) -> bool:
    """Whether height and width are the image's, each divided by the same stride and rounded."""
    height, width = (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])
    return not image or abs(height * image[-1] - width * image[-2]) <= max(image[-2:])


def _possible(shape: Shape) -> str:
    first = f"BCHW ({shape[1]} channels, {shape[2]}x{shape[3]} positions)"
    second = f"BHWC ({shape[3]} channels, {shape[1]}x{shape[2]} positions)"
    return f"{first}, {second}, BNC (tokens, of three axes)"


def _hint(shape: Shape, image: Shape) -> str:
    """Of tokens: the layout and the prefix that would make a grid of them."""
    if len(shape) != 3 or not image:
        return ""
    fits = (p for p in range(min(shape[1], 33)) if grid(shape[1] - p, (image[-2], image[-1])))
    prefix = next(fits, None)
    if prefix is None:
        return "; possible: BCHW, BHWC, or BNC with the right prefix"
    rows, columns = grid(shape[1] - prefix, (image[-2], image[-1])) or (0, 0)
    return f"; as layout=BNC, prefix={prefix} it is a grid of {rows}x{columns} tokens"


def _grid(name: str, tokens: int, image: Shape) -> tuple[int, int]:
    found = grid(tokens, (image[-2], image[-1]))
    if found is None:
        raise UserError(
            f"{name}: {tokens} tokens are no grid over {_text(image)}; is the site's prefix right?"
        )
    return found


def _text(image: Shape) -> str:
    return f"{image[-2]}x{image[-1]} px" if len(image) == 3 else "x".join(map(str, image))
