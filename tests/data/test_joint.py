"""Images and masks move together, by draws that depend on seed, epoch and step alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from attnbench import data
from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data.pipeline.joint import Joint
from attnbench.data.pipeline.masked import ResidentMasks
from attnbench.data.pipeline.masks import IGNORE
from attnbench.data.pipeline.order import Plan
from attnbench.errors import UserError

CPU = torch.device("cpu")
PLAIN = Data(name="scenes", size=48, width=64, classes=11, mean=[0.0] * 3, std=[1.0] * 3)
BLOCK = 16  # px of one label: the image says its mask


def split(n=20, settings=PLAIN, inner=(48, 64)):
    """Images whose red is ten times their mask, in blocks large enough to survive resampling."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 11, (n, 3, 4)).astype(np.uint8)
    masks = coarse.repeat(BLOCK, 1).repeat(BLOCK, 2)
    images = np.stack([20 * masks + 20, 255 - 20 * masks, masks * 0 + 128], 3)
    masks[:, inner[0] :], masks[:, :, inner[1] :] = IGNORE, IGNORE
    return ResidentMasks(images, masks, np.tile(inner, (n, 1)), Joint(settings, CPU), CPU)


def first(found, augment, **arguments):
    return next(found.batches(len(found), augment=augment, **arguments))


def said(images, masks):
    """The mask that the red of each pixel says, and the pixels that are two or more from another label."""
    spread = torch.nn.functional.unfold(masks[:, None].float(), 5, padding=2).view(
        len(masks), 25, *masks.shape[1:]
    )
    edge = torch.nn.functional.pad(torch.ones_like(masks)[:, 2:-2, 2:-2], (2, 2, 2, 2)) == 0
    return ((images[:, 0] * 255 - 20) / 20).round(), (spread.amin(1) == spread.amax(1)) & ~edge


@pytest.mark.parametrize(
    "augment",
    [
        Augment(crop="none"),
        Augment(crop="pad", padding=6),
        Augment(crop="scaled"),
        Augment(crop="scaled", resize=[0.5, 0.5]),
        Augment(crop="scaled", resize=[2.0, 2.0], flip=False),
        Augment(crop="scaled", crop_size=[80, 40]),
    ],
)
def test_the_image_says_the_mask_wherever_it_is(augment):
    x, y = first(split(), augment)
    size = tuple(augment.crop_size) or (48, 64)
    assert x.shape == (20, 3, *size) and y.shape == (20, *size) and y.dtype == torch.int64
    assert x.is_contiguous(memory_format=torch.channels_last)
    label, clear = said(x, y)
    inside = y != IGNORE
    assert (label == y)[inside & clear].all()
    assert (clear & inside).sum() > 0.2 * inside.sum()
    assert (x.movedim(1, 3)[~inside] == 0).all()  # outside is the mean


def test_without_draws_images_are_as_stored():
    found = split()
    x, y = first(found, None)
    assert torch.equal(y, found.masks.long())
    assert torch.allclose(x.movedim(1, 3) * 255, found.images.float(), atol=1e-3)


def test_scale_one_and_the_images_size_change_nothing():
    found = split()
    x, y = first(found, Augment(crop="scaled", resize=[1.0, 1.0], flip=False))
    plain, masks = first(found, None)
    assert torch.equal(x, plain) and torch.equal(y, masks)


def test_flips_mirror_both_for_about_half_of_the_images():
    found = split(200)
    x, y = first(found, Augment(crop="none"))
    plain, masks = first(found, None)
    mirrored = (y != masks).flatten(1).any(1)
    assert 70 < int(mirrored.sum()) < 130
    assert torch.equal(x[mirrored], plain[mirrored].flip(3)) and torch.equal(x[~mirrored], plain[~mirrored])


def test_scales_span_their_range_and_crops_reach_every_border():
    found = split(400)
    augment = Augment(crop="scaled", resize=[0.5, 2.0], flip=False)
    _, y = first(found, augment)
    share = (y != IGNORE).float().mean((1, 2))
    assert float(share.min()) < 0.3 and float(share.max()) == 1
    assert (share == 1).float().mean() == pytest.approx(2 / 3, abs=0.1)  # scales above 1 fill the crop
    corners = (y[:, [0, 0, -1, -1], [0, -1, 0, -1]] != IGNORE).float().mean(0)
    assert corners.min() > 0.6


def test_padding_of_the_frame_is_never_cropped_where_the_image_has_room():
    found = split(100, inner=(48, 32))
    _, y = first(found, Augment(crop="scaled", resize=[2.0, 2.0], flip=False))
    assert (y != IGNORE).all()


def test_enlarged_pixels_are_bilinear():
    """An image twice as large, cropped in the middle, is torch's own interpolation."""
    found = split(4)
    x, _ = first(found, Augment(crop="scaled", resize=[2.0, 2.0], crop_size=[96, 128], flip=False))
    plain, _ = first(found, None)
    expected = torch.nn.functional.interpolate(plain, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(x, expected, atol=1e-4)


def test_colours_change_and_masks_stay():
    found = split()
    x, y = first(found, Augment(crop="none", flip=False, jitter=0.5))
    plain, masks = first(found, None)
    assert torch.equal(y, masks)
    assert (x - plain).abs().mean((1, 2, 3)).min() > 0.005
    assert float(x.min()) >= 0 and float(x.max()) <= 1


@pytest.mark.parametrize("crop", ["pad", "scaled"])
def test_restarts_and_ranks_give_the_batches_of_the_whole_pass(crop):
    found = split(44)
    arguments = {"seed": 5, "epoch": 2, "augment": Augment(crop=crop, jitter=0.2), "shuffle": True}
    whole = list(found.batches(16, **arguments))
    for (x, y), (x2, y2) in zip(whole[1:], found.batches(16, start=1, **arguments)):
        assert torch.equal(x, x2) and torch.equal(y, y2)
    for rank in range(2):
        for (x, y), (x2, y2) in zip(whole, found.batches(16, rank=rank, world=2, **arguments)):
            assert torch.allclose(x[rank::2], x2, atol=1e-5) and torch.equal(y[rank::2], y2)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_draws_anew(other):
    augment = Augment(crop="scaled")
    assert not torch.equal(first(split(), augment)[1], first(split(), augment, **other)[1])


def test_draws_for_masks_leave_those_of_images_as_they_were():
    """Batches of classification keep the numbers that they had before masks were drawn for."""
    from attnbench.data.pipeline.order import generator

    draws = Plan(8, 8, 3, 1, Augment(crop="resized"))[0].draws
    rng = generator(3, 1, 0)
    assert np.array_equal(draws.uniform, rng.random((8, 5)))
    assert np.array_equal(draws.boxes, rng.random((8, 10, 4)))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Augment(crop="resized"), "choose scaled, pad or none"),
        (Augment(mixup=0.2), "mixup=0.2"),
        (Augment(cutmix=1.0), "cutmix=1.0"),
        (Augment(cutout=8), "cutout=8"),
        (Augment(crop="scaled", resize=[2.0, 0.5]), "resize"),
        (Augment(crop="scaled", crop_size=[64]), "crop_size"),
    ],
)
def test_what_masks_cannot_follow_is_refused(augment, message):
    with pytest.raises(UserError, match=message):
        split().batches(4, augment=augment)
    with pytest.raises(UserError, match=message):
        data.check_augment(augment, masks=True)


def test_classification_refuses_what_is_for_masks():
    for augment in (Augment(crop="scaled"), Augment(jitter=0.1)):
        with pytest.raises(UserError, match="for masks"):
            data.check_augment(augment, masks=False)


def test_grey_images():
    settings = replace(PLAIN, channels=1, mean=[0.0], std=[1.0])
    images = np.full((3, 48, 64, 1), 100, np.uint8)
    found = ResidentMasks(images, images[..., 0] // 50, np.tile((48, 64), (3, 1)), Joint(settings, CPU), CPU)
    x, _ = first(found, Augment(crop="scaled", jitter=0.2))
    assert x.shape == (3, 1, 48, 64)
