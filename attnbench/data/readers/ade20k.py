"""ADE20K's 150 classes of its scene parsing challenge (Zhou et al. 2017), from its official folder."""

from pathlib import Path

import numpy as np
import torch

from attnbench.config.schema import Data
from attnbench.data import options, require, root
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.masked import OPTIONS, dataset, expect, hold_out
from attnbench.data.pipeline.masks import IGNORE, Pairs, table
from attnbench.data.pipeline.split import Dataset
from attnbench.errors import UserError

FOLDER = "ADEChallengeData2016"
COUNTS = {"training": 20210, "validation": 2000}
# One name each, of those in the official objectInfo150.txt.
NAMES = (
    """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket,
waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot,
animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light,
tray, ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass,
clock, flag
""".replace("\n", " ")
    .strip()
    .split(", ")
)


def build(data: Data, device: torch.device, workers: int = 0) -> Dataset:
    """The official validation images are the test split; `val_share` of the training ones validates.

    A mask's 0 is ignored. Raises `UserError` where folders or files are missing.
    """
    require(data, classes=len(NAMES), channels=3)
    chosen = options(data, **OPTIONS, val_share=0.05, partial=False)
    folder = _folder(data)
    meaning = table({0: IGNORE, **{i + 1: i for i in range(len(NAMES))}})
    every = {split: _pairs(folder, split, meaning) for split in COUNTS}
    for split, count in COUNTS.items():
        expect(data, len(every[split]), count, split, chosen["partial"])
    kept, held = hold_out(len(every["training"]), data, chosen["val_share"])
    train = every["training"]
    parts = {"train": train[kept], "val": train[held], "test": every["validation"]}
    return dataset(list(NAMES), parts, data, chosen, device, workers)


def _folder(data: Data) -> Path:
    given = root(data)
    for place in (given, given / FOLDER):
        if (place / "images").is_dir() and (place / "annotations").is_dir():
            return place
    raise UserError(
        f"data set '{data.name}' is missing: no images and annotations in {given} or {given / FOLDER}. "
        f"It is {FOLDER}.zip of the scene parsing challenge at sceneparsing.csail.mit.edu"
    )


def _pairs(folder: Path, split: str, meaning: np.ndarray) -> Pairs:
    """The images of a split and their masks, which have the same names."""
    place = folder / "images" / split
    images = [place / name for name in sorted(listing.files(place, (".jpg",)))]
    if not images:
        raise UserError(f"{folder / 'images' / split} has no *.jpg")
    masks = [folder / "annotations" / split / f"{image.stem}.png" for image in images]
    return Pairs(np.array([str(i) for i in images]), np.array([str(m) for m in masks]), meaning)
