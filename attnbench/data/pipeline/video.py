"""Clips from folders of frame files or from video files, decoded anew in each pass by worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as Steps

from attnbench.config.schema import Data
from attnbench.data.contents import FILES
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.augment import Pixels
from attnbench.data.pipeline.clips import stacked
from attnbench.data.pipeline.crop import boxes
from attnbench.data.pipeline.examine import Examination, checksum, content, picture
from attnbench.data.pipeline.images import decode
from attnbench.data.pipeline.order import Draws, Plan, generator
from attnbench.data.pipeline.split import Dataset, Split
from attnbench.data.pipeline.stream import loader
from attnbench.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
VIDEOS = (".avi", ".mp4", ".mkv", ".webm", ".mov", ".m4v")
TEMPORAL = 0x74696D65  # parts the draw of frames from the draws for their pixels


@dataclass(frozen=True)
class Videos:
    """Videos of a set: where each lies in `folder`, and the names of its frames there, in order.

    A video file has no frames. Videos whose frames have the same names share them.
    """

    folder: Path
    places: Sequence[str]
    frames: Sequence[tuple[str, ...]]
    targets: Int[np.ndarray, " n"] | Int[np.ndarray, "n 3"]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Int[np.ndarray, " m"]) -> "Videos":
        places, frames = ([part[row] for row in rows] for part in (self.places, self.frames))
        return Videos(self.folder, places, frames, self.targets[rows])

    def paths(self, row: int, rows: Sequence[int] | np.ndarray | None = None) -> list[Path]:
        """The files of one video's frames, of those rows or of all; its one file where it is a video file."""
        place, names = self.folder / self.places[row], self.frames[row]
        if not names:
            return [place]
        return [place / names[i] for i in (range(len(names)) if rows is None else rows)]

    def checksum(self, examine: Examination, frames: int) -> str:
        """Of the contents of the frames that evaluation reads, of how many there are, and of the targets.

        What is wrong with them is kept for `examine.finish`.
        """
        read = [self._evaluated(row, frames) for row in range(len(self))]
        pictures = [path for row, paths in enumerate(read) if self.frames[row] for path in paths]
        videos = [path for row, paths in enumerate(read) if not self.frames[row] for path in paths]
        seen, whole = examine(pictures, picture), examine(videos, content)
        self._same_sizes(examine, pictures, seen.sizes)
        counts = np.array([len(names) for names in self.frames])
        return checksum(np.concatenate([seen.digests, whole.digests]), counts, self.targets)

    def _evaluated(self, row: int, frames: int) -> list[Path]:
        names = self.frames[row]
        return self.paths(row, np.unique(chosen(len(names), frames, None)) if names else None)

    @staticmethod
    def _same_sizes(examine: Examination, paths: list[Path], sizes: Int[np.ndarray, "n 2"]) -> None:
        """Keep, as a fault, a frame of another size than the one before it in the same video."""
        for row in range(1, len(paths)):
            alike = (sizes[row] == sizes[row - 1]).all() or not (sizes[row].any() and sizes[row - 1].any())
            if not alike and paths[row].parent == paths[row - 1].parent:
                examine.faults.append((paths[row], "differs in size from the video's other frames"))


def chosen(length: int, frames: int, draw: np.ndarray | None) -> Int[np.ndarray, " t"]:
    """Which of a video's frames make the clip: one of each of `frames` equal parts, the middle unless drawn.

    Source: Wang et al. 2016, Temporal Segment Networks. `draw` holds a uniform number in [0, 1) each.
    """
    share = np.full(frames, 0.5) if draw is None else draw
    return np.minimum(((np.arange(frames) + share) * length / frames).astype(int), length - 1)


class Decoded(Steps):
    """The batches of a plan: item `step` is uint8 (b h w t·c), or what was wrong with a file."""

    def __init__(self, videos: Videos, plan: Plan, data: Data) -> None:
        self.videos, self.plan, self.data = videos, plan, data

    def __getitem__(self, step: int) -> Tensor | str:
        plan, (rows, draws) = self.plan, self.plan[step]
        rng = None if draws is None else generator(plan.seed, plan.epoch, step, TEMPORAL)
        times = None if rng is None else self._mine(rng.random((plan.batch_size, self.data.frames or 1)))
        try:
            clips = [
                self._clip(row, None if draws is None else draws.of(i), None if times is None else times[i])
                for i, row in enumerate(rows)
            ]
        except UserError as error:
            return str(error)
        return torch.from_numpy(np.stack(clips)) if clips else torch.empty(0)

    def _mine(self, draws: np.ndarray) -> np.ndarray:
        return draws[self.plan.rank :: self.plan.world]

    def _clip(self, row: int, draws: Draws | None, times: np.ndarray | None) -> UInt8[np.ndarray, "h w t·c"]:
        frames = read(self.videos, row, self.data.frames or 1, times, self.data.channels)
        image = frames[0]
        _, height, width = self.data.image
        whole = np.array([[0, 0, image.height, image.width]])
        sizes = np.array([[image.height, image.width]])
        resized = draws is not None and self.plan.augment is not None and self.plan.augment.crop == "resized"
        # A square input shows the middle of the frames, as in the video references; another, as of people in
        # re-identification, all of them.
        cropped = resized or height == width
        top, left, high, wide = map(float, (boxes(draws, self.plan.augment, sizes) if cropped else whole)[0])
        box = (left, top, min(left + wide, image.width), min(top + high, image.height))
        cut = [np.asarray(f.resize((width, height), Image.Resampling.BILINEAR, box=box)) for f in frames]
        return np.concatenate([c.reshape(height, width, -1) for c in cut], 2)


def read(videos: Videos, row: int, frames: int, draw: np.ndarray | None, channels: int) -> list[Image.Image]:
    """The frames of a clip; raises `UserError` where a file cannot be read."""
    names = videos.frames[row]
    if not names:
        return _decoded(videos.folder / videos.places[row], frames, draw, channels)
    paths = videos.paths(row, chosen(len(names), frames, draw))
    found = [decode(path, channels) for path in paths]
    if any(image.size != found[0].size for image in found):
        raise UserError(f"{paths[0].parent}: its frames differ in size; extract them anew")
    return found


def _decoded(path: Path, frames: int, draw: np.ndarray | None, channels: int) -> list[Image.Image]:
    decoder = video_decoder()
    try:
        video = decoder(str(path))
        pixels = video.get_frames_at(indices=chosen(len(video), frames, draw).tolist()).data
    except (RuntimeError, ValueError, IndexError) as error:
        raise UserError(f"{path} cannot be read as a video ({error}): replace or delete it") from error
    images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in pixels]
    return images if channels == 3 else [image.convert("L") for image in images]


def video_decoder() -> type:
    """torchcodec's; raises `UserError` with what to do where it is not installed."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"video files need torchcodec and FFmpeg's libraries ({str(error).splitlines()[0]}): pip install "
            "'attnbench[video]', or extract the frames: ffmpeg -i VIDEO.avi VIDEO/%05d.jpg"
        ) from None
    return VideoDecoder


class ClipStream(Split):
    """A split whose clips are decoded anew in each pass."""

    def __init__(self, videos: Videos, data: Data, device: torch.device, workers: int) -> None:
        super().__init__(videos.targets, Pixels(stacked(data, data.frames or 1), device), device)
        self.videos, self.data, self.workers = videos, data, workers

    def read(self, plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (b t c h w)."""
        decoded = Decoded(self.videos, plan, self.data)
        channels, height, width = self.data.image
        need = plan.share * (self.data.frames or 1) * channels * height * width
        steps = loader(decoded, plan, self.workers, self.device, need)
        for images, (rows, draws) in zip(steps, plan):
            where = torch.from_numpy(rows).to(self.device)
            x = self.pixels(images.to(self.device, non_blocking=True), draws, plan.augment)
            yield x.unflatten(1, (self.data.frames or 1, -1)), self.targets[where]


def clips(
    names: list[str], parts: dict[str, Videos], data: Data, device: torch.device, workers: int
) -> Dataset:
    """A data set of videos for each of train, val and test, whose files were examined."""
    examine = Examination(data.name)
    sums = [part.checksum(examine, data.frames or 1).removeprefix(FILES) for part in parts.values()]
    examine.finish()
    total = FILES + sha256("".join(sums).encode()).hexdigest()[:16]
    streams = {name: ClipStream(part, data, device, workers) for name, part in parts.items()}
    return Dataset(names, **streams, checksum=total)


def frames_in(folder: Path, pattern: str | None = None) -> tuple[str, ...]:
    """The names of the frames in a folder, in natural order, of those that match a pattern.

    Without one, raises `UserError` where names are of several kinds (`flow_x_1.jpg` beside `img_1.jpg`).
    """
    found = listing.files(folder, IMAGES)
    if pattern is not None:
        return tuple(name for name in found if fnmatch(name, pattern))
    kinds = dict.fromkeys(listing.NUMBERS.sub("*", name) for name in found)
    if len(kinds) > 1:
        raise UserError(
            f"{folder} holds frames of several kinds: {', '.join(list(kinds)[:5])}: "
            f"name one of them by data.pattern='{next(iter(kinds))}'"
        )
    return tuple(found)
