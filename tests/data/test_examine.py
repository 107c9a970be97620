"""The files of a set are examined together before training; each kind of image has one meaning."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import data
from attnbench.config.schema import Data
from attnbench.data.pipeline import examine as examine_module
from attnbench.data.pipeline import listing
from attnbench.data.pipeline.examine import Examination, checksum, mask, picture
from attnbench.data.pipeline.images import decode
from attnbench.errors import UserError

CPU = torch.device("cpu")


def save(path: Path, seed: int = 0, side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten and four images."""
    for n, (part, count) in enumerate((("train", 10), ("val", 4))):
        for label, name in enumerate(("ant", "bee")):
            for i in range(count):
                save(tmp_path / "set" / part / name / f"{i}.png", 100 * n + 20 * label + i)
    return tmp_path / "set"


def load(root: Path, **settings: object) -> "data.pipeline.split.Dataset":
    given = {"name": "mine", "source": "imagefolder", "size": 8, "classes": 2, "root": str(root), **settings}
    return data.load(Data(**given), CPU)  # type: ignore[arg-type]


def fault(path: Path, look: object = picture) -> str:
    """What is said of one file."""
    examine = Examination("mine")
    examine([path], look)  # type: ignore[arg-type]
    with pytest.raises(UserError) as error:
        examine.finish()
    return str(error.value)


def test_all_faults_are_named_together_before_training(folder: Path) -> None:
    whole = (folder / "val" / "bee" / "0.png").read_bytes()
    (folder / "val" / "bee" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "ant" / "1.png").write_bytes(b"")
    (folder / "train" / "bee" / "2.png").unlink()
    (folder / "train" / "bee" / "2.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(UserError) as error:
        load(folder)
    message = str(error.value)
    assert message.startswith("data set 'mine': 3 files cannot be used (replace or delete): ")
    assert "ant/1.png is empty" in message and "bee/2.png links to what does not exist" in message
    assert "val/bee/0.png cannot be read: image file is truncated" in message
    assert "\n" not in message


def test_of_many_faults_the_first_few_are_named(folder: Path) -> None:
    for i in range(8):
        (folder / "train" / "ant" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"8 files .*0\.png cannot be read as an image; .*; and 3 more$"):
        load(folder)


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "webp", "bmp", "tif", "ppm"])
def test_a_truncated_image_of_any_kind_is_found(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"image.{ending}", side=64)
    examine = Examination("mine")
    assert examine([path], picture).sizes.tolist() == [[64, 64]] and not examine.faults
    path.write_bytes(path.read_bytes()[:-40])
    assert "cannot be read" in fault(path)


def test_hidden_entries_are_skipped_and_empty_classes_named(folder: Path) -> None:
    before = load(folder).checksum
    save(folder / "train" / ".ipynb_checkpoints" / "0.png")
    save(folder / "train" / "ant" / ".ipynb_checkpoints" / "0.png")
    (folder / "train" / "ant" / "._0.png").write_bytes(b"a resource fork")
    assert load(folder).checksum == before
    (folder / "train" / "cow").mkdir()
    (folder / "val" / "cow").mkdir()
    with pytest.raises(UserError, match=r"no image in cow .*fill or remove the folder"):
        load(folder, classes=3)


def test_with_a_test_folder_val_validates(folder: Path) -> None:
    save(folder / "test" / "unlabeled" / "0.png")  # as ImageNet's: not of the classes
    assert len(load(folder).test) == 8
    for name, count in (("ant", 3), ("bee", 2)):
        for i in range(count):
            save(folder / "test" / name / f"{i}.png", 500 + i)
    (folder / "test" / "unlabeled" / "0.png").unlink()
    (folder / "test" / "unlabeled").rmdir()
    found = load(folder)
    assert (len(found.train), len(found.val), len(found.test)) == (20, 8, 5)
    assert load(folder, train=10, val=4, test=2).test.labels.tolist() == [0, 1]


def test_the_checksum_is_of_contents_and_labels_not_of_names_or_times(folder: Path, tmp_path: Path) -> None:
    before = load(folder).checksum
    os.utime(folder / "train" / "ant" / "0.png", (1, 1))
    assert load(folder).checksum == before
    edited = folder / "train" / "ant" / "0.png"
    with Image.open(edited) as image:
        inverted = Image.fromarray(255 - np.asarray(image))
    inverted.save(edited)
    after = load(folder).checksum
    assert after != before and after.startswith("files:")
    assert checksum(np.zeros((2, 16), np.uint8), np.array([0, 1])) != checksum(
        np.zeros((2, 16), np.uint8), np.array([1, 0])
    )


def test_pictures_edited_in_place_are_not_shown_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNBENCH_CACHE", str(tmp_path / "cache"))
    options = {"cache": True, "stored": 8}
    (before,) = (x for x, _ in load(folder, options=options).test.batches(8))
    for path in (folder / "val").rglob("*.png"):
        state = path.stat()
        pixels = 255 - np.asarray(Image.open(path))
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    (after,) = (x for x, _ in load(folder, options=options).test.batches(8))
    assert torch.allclose(after, -before, atol=0.02)


def test_digests_are_kept_and_only_changed_files_are_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(examine_module, "KEPT_FROM", 1)
    paths = sorted((folder / "train").rglob("*.png"))
    read: list[Path] = []

    def look(path: Path, end: bytes) -> tuple[int, int]:
        read.append(path)
        return picture(path, end)

    first = Examination("mine")(paths, look)
    assert len(read) == 20
    save(paths[3], 999)
    second = Examination("mine")(paths, look)
    assert read[20:] == [paths[3]]
    assert (first.digests != second.digests).any(1).nonzero()[0].tolist() == [3]
    (kept,) = (tmp_path / "cache" / "examined").glob("*.npz")
    kept.write_bytes(b"damaged")
    assert (Examination("mine")(paths, look).digests == second.digests).all()


# What an image means, by its kind


def shown(image: Image.Image, path: Path, channels: int = 3, **how: object) -> np.ndarray:
    image.save(path, **how)
    return np.asarray(decode(path, channels))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    for ending in ("png", "tif"):
        pixels = shown(Image.fromarray(values), tmp_path / f"deep.{ending}")
        assert pixels[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]
        assert (pixels[..., 0] == pixels[..., 2]).all()
    assert shown(Image.fromarray(values), tmp_path / "grey.png", 1).tolist() == [[0, 0, 1], [128, 255, 255]]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_of_unknown_range_are_refused_by_name(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "values.tif"
    Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4).astype(kind)).save(path)
    assert "values.tif cannot be read: TIFF of mode" in fault(path)
    assert "of unknown range; convert it to 8 bits" in fault(path)
    with pytest.raises(UserError, match=r"values\.tif cannot be read as an image .*convert it to 8 bits"):
        decode(path, 3)


def test_cmyk_is_converted_to_rgb(tmp_path: Path) -> None:
    red = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert shown(red, tmp_path / "red.tif")[0, 0].tolist() == [255, 0, 0]


def test_a_palette_is_resolved_and_transparency_ignored(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert shown(image, tmp_path / "palette.png", transparency=1)[0, 0].tolist() == [10, 200, 30]
    assert shown(Image.new("RGBA", (4, 4), (9, 8, 7, 0)), tmp_path / "clear.png")[0, 0].tolist() == [9, 8, 7]
    assert shown(Image.new("LA", (4, 4), (77, 0)), tmp_path / "grey.png")[0, 0].tolist() == [77, 77, 77]


def test_exifs_rotation_is_ignored_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.datasets.folder import pil_loader

    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3).repeat(2, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    pixels = shown(image, tmp_path / "turned.png", exif=exif)
    assert pixels.shape == (4, 8, 3)
    assert (pixels == np.asarray(pil_loader(str(tmp_path / "turned.png")))).all()


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    how = {"lossless": True} if ending == "webp" else {}
    pixels = shown(frames[0], tmp_path / f"film.{ending}", save_all=True, append_images=frames[1:], **how)
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_a_mask_in_color_is_refused(tmp_path: Path) -> None:
    assert "in color; a mask holds one class number a pixel" in fault(save(tmp_path / "mask.png"), mask)


# What lies in folders


def test_numbers_in_names_are_sorted_by_value() -> None:
    names = ["10.png", "2.png", "1.png", "a10b2.png", "a2b10.png", "a2b9.png", "é.png"]
    expected = ["1.png", "2.png", "10.png", "a2b9.png", "a2b10.png", "a10b2.png", "é.png"]
    assert sorted(names, key=listing.natural) == expected


def test_images_are_listed_as_torchvision_lists_them(folder: Path) -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    for name in ("b/1.png", "b-1/1.png", "b/c/1.png", "10.PNG", "2.png", "text.txt"):
        save(folder / "train" / "ant" / name) if not name.endswith("txt") else None
    found = make_dataset(str(folder / "train"), {"ant": 0}, extensions=IMG_EXTENSIONS)
    theirs = [os.path.relpath(path, folder / "train" / "ant") for path, _ in found]
    assert listing.tree(folder / "train" / "ant", IMG_EXTENSIONS) == theirs


def test_a_link_to_a_folder_above_is_followed_once(folder: Path) -> None:
    (folder / "train" / "ant" / "again").symlink_to(folder / "train")
    found = listing.tree(folder / "train" / "ant", (".png",))
    assert len(found) == 10 + 10 and len(set(found)) == 20  # ant's, and bee's by the link


def test_a_folder_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, scandir = folder / "train" / "bee", os.scandir

    def guarded(path: object) -> object:
        if Path(str(path)) == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"train/bee cannot be read: Permission denied"):
        load(folder)


def test_names_that_are_not_utf_8_are_read(folder: Path) -> None:
    odd = os.fsencode(folder / "train" / "ant") + b"/\xff\xfe.png"
    os.rename(folder / "train" / "ant" / "0.png", odd)
    found = load(folder, options={"val_share": 0.01})
    assert sum(len(x) for x, _ in found.train.batches(4)) + sum(len(x) for x, _ in found.val.batches(4)) == 20
    with open(odd, "wb") as file:
        file.write(b"no image")
    with pytest.raises(UserError, match=r"ant/\\xff\\xfe\.png cannot be read as an image"):
        load(folder)
