"""Image folders: streamed by workers, or read from a cache that is built once."""

import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data import load
from attnbench.data.pipeline import cache as cache_module
from attnbench.data.pipeline.images import cut
from attnbench.data.pipeline.order import generator
from attnbench.errors import UserError

CPU = torch.device("cpu")
RESIZED = Augment(crop="resized", cutout=4)
PASS = {"seed": 1, "epoch": 2, "augment": RESIZED, "shuffle": True}


def _picture(seed, width, height, mode="RGB"):
    """A smooth picture, so that JPEG and resampling keep it."""
    coarse = generator(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for part, count in (("train", 20), ("val", 4)):
        for label, name in enumerate(("ant", "bee", "cat")):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                mode = "L" if n == 1 else "RGB"
                sides = (64, 64 + 8 * n)[:: 1 if n % 2 else -1]
                picture = _picture(100 * label + n, *sides, mode)
                picture.save(root / part / name / f"{n}.{'png' if n == 2 else 'jpeg'}", quality=95)
    return root


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "set")


def _load(root, workers=0, **settings):
    options = settings.pop("options", {})
    given = {"name": "mine", "source": "imagefolder", "size": 24, "classes": 3, "root": str(root)}
    return load(Data(**{**given, **settings, "options": options}), CPU, workers)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where caches go."""
    monkeypatch.setenv("ATTNBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _cached(root, workers=0, **settings):
    return _load(root, workers, options={"cache": True}, **settings)


def _all(split, **arguments):
    images, targets = zip(*split.batches(8, **arguments))
    return torch.cat(images), torch.cat(targets)


def test_splits_are_balanced_disjoint_and_complete(folder):
    found = _load(folder)
    assert found.classes == ["ant", "bee", "cat"]
    names = [set(part.files.names) for part in (found.train, found.val, found.test)]
    assert [len(n) for n in names] == [54, 6, 12]
    assert len(set.union(*names)) == 72
    assert np.bincount(found.val.labels).tolist() == [2, 2, 2]
    assert all(name.startswith(b"val/") for name in names[2])
    for name, label in zip(found.train.files.names, found.train.labels):
        assert name.split(b"/")[1].decode() == found.classes[label]


def test_evaluation_is_torchvisions_resize_and_centre_crop(folder):
    data = {"mean": [0.0] * 3, "std": [1.0] * 3, "size": 28}
    split = _load(folder, **data).test
    x, _ = _all(split)
    usual = v2.Compose([v2.Resize(32), v2.CenterCrop(28), v2.PILToTensor()])
    for row, image in enumerate(x):
        expected = usual(Image.open(split.files.path(row)).convert("RGB")) / 255
        assert (image - expected).abs().mean() < 0.005


def test_a_box_is_torchvisions_resized_crop():
    picture = _picture(3, 90, 70)
    ours = cut(picture, [10, 20, 40, 50], 16)
    theirs = np.asarray(v2.functional.resized_crop(picture, 10, 20, 40, 50, [16, 16]))
    assert np.abs(ours[1:-1, 1:-1].astype(int) - theirs[1:-1, 1:-1]).max() <= 1


def test_images_are_the_same_for_any_number_of_workers(folder):
    alone, helped = (_all(_load(folder, workers).train, **PASS) for workers in (0, 2))
    assert torch.equal(alone[0], helped[0])
    assert torch.equal(alone[1], helped[1])


@pytest.mark.parametrize("how", ["streamed", "cached"])
def test_a_pass_repeats_restarts_and_is_shared_by_ranks(how, folder, place):
    split = (_load(folder) if how == "streamed" else _cached(folder)).train
    whole = list(split.batches(8, **PASS))
    assert len(whole) == 7
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole, split.batches(8, **PASS)))
    late = list(split.batches(8, start=5, **PASS))
    assert [torch.allclose(a, b, atol=1e-5) for (a, _), (b, _) in zip(whole[5:], late)] == [True, True]
    for rank in range(2):
        for (x, y), (x2, y2) in zip(whole, split.batches(8, rank=rank, world=2, **PASS)):
            assert torch.allclose(x[rank::2], x2, atol=1e-4)
            assert torch.equal(y[rank::2], y2)
    other = next(split.batches(8, **{**PASS, "epoch": 3}))[0]
    assert not torch.equal(whole[0][0], other)


def test_streaming_leaves_the_global_random_state_alone(folder):
    before = torch.get_rng_state()
    _all(_load(folder).train, **PASS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("augment", [None, RESIZED, Augment(crop="pad", padding=2), Augment(crop="none")])
def test_the_cache_shows_what_streaming_shows(augment, folder, place):
    arguments = {"seed": 3, "augment": augment}
    streamed, cached = _load(folder), _cached(folder)
    assert streamed.checksum == cached.checksum
    for name in ("train", "val", "test"):
        x, y = _all(getattr(streamed, name), **arguments)
        x2, y2 = _all(getattr(cached, name), **arguments)
        assert torch.equal(y, y2)
        assert torch.equal(x == 0, x2 == 0) or augment is None or not augment.cutout
        assert (x - x2).abs().mean() < 0.03


def test_grey_files_are_read_in_colour_and_all_in_grey_where_asked(folder):
    x, _ = _all(_load(folder).test)
    assert x.shape == (12, 3, 24, 24)
    grey = torch.isclose(x[:, 0], x[:, 1]).all((1, 2))
    assert int(grey.sum()) == 3
    x, _ = _all(_load(folder, channels=1, mean=[0.5], std=[0.25]).test)
    assert x.shape == (12, 1, 24, 24)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", [b"no picture at all", None])
def test_a_damaged_file_is_named(workers, damage, folder, place):
    path = folder / "train" / "bee" / "5.jpeg"
    found = _load(folder, workers, options={"val_share": 0.01})
    path.write_bytes(damage or path.read_bytes()[:300])
    with pytest.raises(
        UserError, match=r"train/bee/5\.jpeg cannot be read as an image.*replace or delete it"
    ):
        _all(found.train)
    for load_it in (_load, _cached):
        with pytest.raises(UserError, match=r"1 file cannot be used .*train/bee/5\.jpeg cannot be read"):
            load_it(folder, workers)
    assert not place.exists()


def test_a_missing_folder_says_what_was_looked_for(folder, tmp_path):
    shutil.rmtree(folder / "val")
    with pytest.raises(UserError, match=r"no folders train/ and val/ in .*/set and .*/set/mine"):
        _load(folder)
    with pytest.raises(UserError, match=r"data=imagenette.*data\.download=true"):
        _load(tmp_path, name="imagenette")
    with pytest.raises(UserError, match=r"image-net\.org"):
        _load(tmp_path, name="imagenet")
    with pytest.raises(UserError, match="nowhere to fetch"):
        _load(tmp_path, download=True)
    with pytest.raises(UserError, match=r"data\.root=FOLDER"):
        _load("")


def test_the_set_is_found_in_the_folder_of_its_name(folder):
    assert len(_load(folder.parent, name="set").test) == 12


def test_another_number_of_classes_is_refused_with_the_right_one(folder):
    with pytest.raises(UserError, match=r"data\.classes=10.*has 3 class folders: set data\.classes=3"):
        _load(folder, classes=10)


def test_classes_that_do_not_match_are_refused(folder):
    (folder / "val" / "dog").mkdir()
    with pytest.raises(UserError, match="classes without training images: dog"):
        _load(folder)
    (folder / "val" / "dog").rmdir()
    shutil.rmtree(folder / "val" / "cat")
    with pytest.raises(UserError, match="cat"):
        _load(folder)


def test_counts_and_checksum_follow_the_files_in_use(folder):
    some = _load(folder, train=30, test=6)
    assert np.bincount(some.train.labels).tolist() == [10, 10, 10]
    assert np.bincount(some.test.labels).tolist() == [2, 2, 2]
    sums = [some.checksum, _load(folder).checksum, _load(folder, split_seed=1).checksum]
    _picture(0, 50, 50).save(folder / "val" / "ant" / "0.jpeg", quality=50)
    assert len({*sums, _load(folder).checksum}) == 4
    with pytest.raises(UserError, match=r"data\.test=13"):
        _load(folder, test=13)


def _caches(place):
    return sorted(p.name for p in place.iterdir() if p.is_dir())


def test_the_cache_is_built_once_and_anew_for_other_files_or_sizes(folder, place, monkeypatch):
    _cached(folder)
    (first,) = _caches(place)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_build", None)
        _cached(folder)
        _cached(folder, split_seed=1)
    _cached(folder, size=16)
    assert len(_caches(place)) == 2
    _picture(0, 50, 50).save(folder / "val" / "ant" / "0.jpeg", quality=50)
    _cached(folder)
    assert len(_caches(place)) == 3
    assert first in _caches(place)


def _build_and_report(root, barrier, answers):
    torch.set_num_threads(1)
    barrier.wait()
    built = []
    build = cache_module._build
    cache_module._build = lambda *a: (built.append(1), build(*a))
    images, _ = _all(_cached(root).test)
    answers.put((len(built), float(images.sum())))


def test_two_that_build_at_once_make_one_cache(folder, place):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    jobs = [context.Process(target=_build_and_report, args=(folder, barrier, answers)) for _ in "ab"]
    for job in jobs:
        job.start()
    found = [answers.get(timeout=60) for _ in jobs]
    for job in jobs:
        job.join()
    assert sorted(built for built, _ in found) == [0, 1]
    assert found[0][1] == found[1][1]
    assert len(_caches(place)) == 1


def test_what_a_killed_build_left_is_cleared_away(folder, place):
    _cached(folder)
    (name,) = _caches(place)
    (place / name).rename(place / f"{name}.part")
    assert len(_cached(folder).test) == 12
    assert _caches(place) == [name]


def test_a_disk_too_small_is_told_before_anything_is_decoded(folder, place, monkeypatch):
    usage = shutil.disk_usage(folder)._replace(free=1000)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(cache_module, "_fill", None)
    with pytest.raises(UserError, match=r"needs .* GB;.*free: .*ATTNBENCH_CACHE"):
        _cached(folder)


def test_a_cache_folder_that_cannot_be_is_told(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTNBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"no cache can be kept in .*file/cache"):
        _cached(folder)


def test_the_side_of_cached_images_can_be_chosen(folder, place):
    options = {"cache": True, "stored": 48}
    assert _load(folder, options=options).test.cache.images.shape == (72, 48, 48, 3)
    with pytest.raises(UserError, match=r"did you mean stored"):
        _load(folder, options={"store": 48})


@pytest.mark.data
def test_imagenette_streams(data_root):
    root = data_root / "imagenette_sub"
    if not root.is_dir():
        pytest.skip(f"no imagenette_sub in {data_root}")
    found = _load(root, 2, name="imagenette", size=224, classes=10, train=40, test=40)
    assert found.classes[0] == "n01440764"
    assert np.bincount(found.test.labels).tolist() == [4] * 10
    x, y = next(found.train.batches(32, **PASS))
    assert x.shape == (32, 3, 224, 224)
    assert len(set(y.tolist())) > 5
    assert 0.5 < float(x.std()) < 2
