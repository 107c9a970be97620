"""What augmentation does to pixels."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop, v2
from torchvision.transforms.v2 import functional as TF

from attnbench.config.load import configure
from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data import check_augment
from attnbench.data.pipeline.augment import Pixels, shift
from attnbench.data.pipeline.crop import boxes, middle_boxes, random_boxes, resample
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.split import Resident
from attnbench.errors import UserError

CPU = torch.device("cpu")
PLAIN = Data(mean=[0.0] * 3, std=[1.0] * 3, size=8)
STILL = {"crop": "none", "flip": False}


def _images(n=40, size=8):
    return generator(n).integers(1, 256, (n, size, size, 3), np.uint8)


def _split(data=PLAIN, n=40):
    images = _images(n, 8)
    return Resident(images, np.arange(n) % 10, Pixels(data, CPU), CPU)


def _first(split, augment, **arguments):
    return next(split.batches(len(split), augment=augment, **arguments))


def test_evaluation_leaves_pixels_as_they_are():
    split = _split()
    x, y = _first(split, None)
    expected = split.images.permute(0, 3, 1, 2) / 255
    assert x.dtype == torch.float32
    assert torch.allclose(x, expected, atol=1e-6)
    assert torch.equal(y, torch.arange(40) % 10)


def test_normalisation_is_torchvisions():
    data = Data(mean=[0.1, 0.2, 0.3], std=[0.2, 0.3, 0.4], size=8)
    x, _ = _first(_split(data), None)
    expected = TF.normalize(_split(data).images.permute(0, 3, 1, 2) / 255, data.mean, data.std)
    assert torch.allclose(x, expected, atol=1e-5)


def test_batches_are_dense_in_channels_last():
    for augment in (None, Augment(padding=2), Augment(crop="resized")):
        x, _ = _first(_split(), augment)
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_a_window_holds_the_pixels_at_its_offset_and_zeros_beyond():
    images = torch.from_numpy(_images(3))
    out = shift(images, torch.tensor([[2, 2], [0, 3], [4, 1]]), 2)
    assert torch.equal(out[0], images[0])
    assert torch.equal(out[1, 2:, :7], images[1, :6, 1:])
    assert not out[1, :2].any()
    assert not out[1, :, 7:].any()
    assert torch.equal(out[2, :6, 1:], images[2, 2:, :7])
    assert not out[2, 6:].any()
    assert not out[2, :, :1].any()


def test_random_crops_are_windows_of_the_padded_image_at_every_offset():
    split = _split(n=400)
    x, _ = _first(split, Augment(crop="pad", padding=1, flip=False), seed=1)
    padded = torch.nn.functional.pad(split.images.permute(0, 3, 1, 2) / 255.0, (1, 1, 1, 1))
    seen = set()
    for image, source in zip(x, padded):
        places = [(i, j) for i in range(3) for j in range(3)]
        (place,) = [
            (i, j) for i, j in places if torch.allclose(image, source[:, i : i + 8, j : j + 8], atol=1e-6)
        ]
        seen.add(place)
    assert len(seen) == 9


def test_a_flip_is_a_mirror_of_about_half_the_images():
    split = _split(n=400)
    x, _ = _first(split, Augment(crop="none", flip=True))
    source = split.images.permute(0, 3, 1, 2) / 255
    same = torch.isclose(x, source, atol=1e-6).all((1, 2, 3))
    mirrored = torch.isclose(x, source.flip(3), atol=1e-6).all((1, 2, 3))
    assert bool((same ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250


@pytest.mark.parametrize("side", [3, 4])
def test_cutout_sets_one_square_to_the_mean_and_nothing_else(side):
    data = Data(mean=[0.3, 0.4, 0.5], std=[0.2] * 3, size=8)
    split = _split(data, n=400)
    x, _ = _first(split, Augment(**STILL, cutout=side))
    plain, _ = _first(split, None)
    hole = (x == 0).all(1)
    assert torch.equal(x[(~hole)[:, None].expand_as(x)], plain[(~hole)[:, None].expand_as(x)])
    rows, columns = hole.any(2).sum(1), hole.any(1).sum(1)
    area = hole.sum((1, 2))
    assert torch.equal(area, rows * columns)
    whole = area == side * side
    assert int(whole.sum()) > 80
    assert int(area.max()) == side * side
    assert int(rows.min()) == (side + 1) // 2


def test_the_same_seed_draws_the_same_pixels_and_another_other_ones():
    augment = Augment(padding=2, cutout=3)
    one, two, other = (_first(_split(), augment, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_restarts_and_ranks_give_the_pixels_of_the_whole_pass(crop):
    split = _split(n=44)
    arguments = {"seed": 5, "epoch": 2, "augment": Augment(crop=crop, cutout=3, padding=2), "shuffle": True}
    whole = list(split.batches(16, **arguments))
    late = list(split.batches(16, start=1, **arguments))
    assert len(late) == 2
    for (x, y), (x2, y2) in zip(whole[1:], late):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
    for rank in range(2):
        for (x, y), (x2, y2) in zip(whole, split.batches(16, rank=rank, world=2, **arguments)):
            assert torch.allclose(x[rank::2], x2, atol=1e-5)
            assert torch.equal(y[rank::2], y2)


def test_another_size_is_reached_after_augmentation():
    x, _ = _first(_split(Data(mean=[0.0] * 3, std=[1.0] * 3, size=16)), Augment(padding=2))
    assert x.shape == (40, 3, 16, 16)


def test_resampling_is_torchvisions_antialiased_resize():
    image = torch.from_numpy(_images(1, 40)).float()
    boxes = torch.tensor([[3.0, 5.0, 30.0, 24.0]])
    ours = resample(image, boxes, 12)[0].permute(2, 0, 1)
    theirs = TF.resized_crop(image[0].permute(2, 0, 1), 3, 5, 30, 24, [12, 12], antialias=True)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    assert torch.allclose(ours[inside], theirs[inside], atol=1e-3)
    whole = resample(image, torch.tensor([[0.0, 0.0, 40.0, 40.0]]), 60)[0].permute(2, 0, 1)
    assert torch.allclose(whole, TF.resize(image[0].permute(2, 0, 1), [60, 60], antialias=True), atol=1e-3)


def test_resampling_the_whole_image_at_its_size_changes_nothing():
    image = torch.from_numpy(_images(2)).float()
    assert torch.allclose(resample(image, torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 2), 8), image)


def test_the_middle_is_torchvisions_resize_and_centre_crop():
    image = torch.from_numpy(generator(1).integers(0, 256, (1, 256, 320, 3), np.uint8)).float()
    box = torch.from_numpy(middle_boxes(np.array([[256, 320]]))).float()
    ours = resample(image, box, 224)[0].permute(2, 0, 1)
    theirs = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])(image[0].permute(2, 0, 1))
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_random_boxes_lie_inside_and_have_the_areas_asked_for():
    draws = generator(2).random((2000, 10, 4))
    sizes = np.tile([300, 400], (2000, 1))
    top, left, height, width = random_boxes(draws, sizes, [0.08, 1.0]).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 300).all()
    assert (left + width <= 400).all()
    share = height * width / 120000
    assert 0.07 < share.min() < 0.1
    assert share.max() > 0.9
    ratio = width / height
    assert 0.73 < ratio.min() < 0.78
    assert 1.3 < ratio.max() < 1.36


def test_random_boxes_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    image = torch.empty(3, 60, 90)
    drawn = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    theirs = np.array(drawn, float)
    draws = generator(3).random((3000, 10, 4))
    ours = random_boxes(draws, np.tile([60, 90], (3000, 1)), [0.08, 1.0])
    assert np.allclose(ours.mean(0), theirs.mean(0), atol=1.2)
    assert np.allclose(ours.std(0), theirs.std(0), atol=1.2)


@pytest.mark.parametrize(
    ("size", "box"), [((20, 200), (0, 86, 20, 27)), ((200, 20), (86, 0, 27, 20)), ((50, 50), (0, 0, 50, 50))]
)
def test_an_image_too_long_for_every_try_gives_its_widest_middle(size, box):
    draws = np.zeros((1, 10, 4))
    draws[..., 0] = 1  # the whole area
    draws[..., 1] = 0 if size[0] != size[1] else 0.5
    assert random_boxes(draws, np.array([size]), [0.08, 1.0])[0].tolist() == list(box)


def test_where_no_box_is_drawn_the_middle_is_seen():
    sizes = np.array([[256, 512]])
    assert boxes(None, None, sizes).tolist() == [[16.0, 144.0, 224.0, 224.0]]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Augment(scale=[0.5, 0.2]), "0 < low <= high"),
        (Augment(scale=[0.5]), "two shares"),
        (Augment(crop="scaled"), "for masks"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_first_batch(augment, message):
    with pytest.raises(UserError, match=message):
        check_augment(augment, masks=False)
    with pytest.raises(UserError, match=message):
        _split().batches(8, augment=augment)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("crop=resize", "did you mean resized"),
        ("padding=-1", "padding=-1: must be 0"),
        ("cutout=-2", "cutout=-2: must be 0"),
        ("scale=[0,1]", "scale=.*above 0"),
    ],
)
def test_values_out_of_range_are_refused_as_settings(word, message):
    with pytest.raises(UserError, match=message):
        configure([f"recipe.augment.{word}"])


def test_a_batch_that_never_fills_is_refused():
    with pytest.raises(UserError, match="40 images do not fill one batch of 64"):
        _split().batches(64, drop_last=True)
    with pytest.raises(UserError, match="batch size 0"):
        _split().batches(0)


def test_a_resized_crop_shows_a_part_of_the_image_at_full_size():
    """On a ramp whose values are columns, the values seen span the width of the box."""
    ramps = np.tile(np.arange(32, dtype=np.uint8)[:, None], (200, 32, 1, 3))
    data = Data(mean=[0.0] * 3, std=[1 / 255] * 3, size=32)
    split = Resident(ramps, np.zeros(200, int), Pixels(data, CPU), CPU)
    x, _ = _first(split, Augment(crop="resized", scale=[0.25, 0.25], flip=False))
    assert x.shape == (200, 3, 32, 32)
    span = x[:, 0, 0, -1] - x[:, 0, 0, 0]
    assert 12 <= float(span.min()) < 14  # 16 px wide at aspect 1, 3/4 to 4/3 of it in area
    assert 17 < float(span.max()) <= 18.5
    assert x[:, 0, 0, 0].unique().numel() > 10


@pytest.mark.gpu
@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_a_gpu_sees_the_pixels_that_a_cpu_sees(crop):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    cuda, images = torch.device("cuda"), _images(40)
    arguments = {"augment": Augment(crop=crop, cutout=3), "shuffle": True}
    one, two = (
        next(Resident(images, np.arange(40), Pixels(PLAIN, where), where).batches(40, **arguments))
        for where in (CPU, cuda)
    )
    assert two[0].device.type == "cuda"
    assert torch.allclose(one[0], two[0].cpu(), atol=1e-3)
    assert torch.equal(one[1], two[1].cpu())
