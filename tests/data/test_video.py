"""Folders of videos: which frames make a clip, official lists, recordings kept whole, damage; and MNIST."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnbench import data
from attnbench.config.recipe import Augment
from attnbench.data.pipeline.order import generator
from attnbench.data.pipeline.video import chosen
from attnbench.data.readers import mnist
from attnbench.errors import UserError
from attnbench.sweeping.experiment import cell

CPU = torch.device("cpu")


def video(folder: Path, frames: int = 6, first: int = 0) -> None:
    """Frames whose red tells their number."""
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.new("RGB", (12, 10), (first + 10 * t, 0, 0)).save(folder / f"{t:03d}.png")


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    for name in ("jump", "run"):
        for i in range(6):
            video(tmp_path / "train" / name / f"clip{i}", 6, i)
        video(tmp_path / "val" / name / "clip9", 3)
    return tmp_path


def load(folder: Path, *arguments: str):
    words = [
        "task=clip",
        "data=frames",
        f"data.root={folder}",
        "data.size=8",
        "data.frames=3",
        "data.classes=2",
    ]
    return data.load(cell([*words, *arguments]).config.data, CPU, 0, "clip")


def test_the_middles_of_equal_parts_are_seen_or_one_drawn_of_each():
    assert chosen(9, 3, None).tolist() == [1, 4, 7]
    assert chosen(3, 3, None).tolist() == [0, 1, 2]
    assert chosen(2, 4, None).tolist() == [0, 0, 1, 1]
    assert chosen(9, 3, np.array([0.0, 0.99, 0.5])).tolist() == [0, 5, 7]


def test_a_folder_of_frames(kinetics: Path):
    found = load(kinetics)
    assert found.classes == ["jump", "run"]
    assert (len(found.train), len(found.val), len(found.test)) == (11, 1, 2)
    clips, targets = next(iter(found.test.batches(2)))
    assert clips.shape == (2, 3, 3, 8, 8)
    assert targets.tolist() == [0, 1]
    red = clips[0, :, 0].mean((1, 2)) * 0.229 + 0.485
    assert torch.allclose(red * 255, torch.tensor([0.0, 10, 20]), atol=1)


def test_training_draws_frames_from_seed_epoch_and_step_alone(kinetics: Path):
    split = load(kinetics).train
    augment = Augment(crop="pad", padding=1, flip=True)
    passes = {
        epoch: list(split.batches(4, seed=1, epoch=epoch, augment=augment, shuffle=True)) for epoch in (0, 1)
    }
    again = next(iter(split.batches(4, seed=1, epoch=0, augment=augment, shuffle=True, start=1)))
    assert torch.equal(again[0], passes[0][1][0])
    mine = next(iter(split.batches(4, seed=1, epoch=0, augment=augment, shuffle=True, rank=1, world=2)))
    assert torch.equal(mine[0], passes[0][0][0][1::2])
    assert not torch.equal(passes[0][0][0], passes[1][0][0])


def test_official_lists_and_recordings_that_stay_whole(tmp_path: Path):
    listed = {"train": [], "test": []}
    for label, name in enumerate(("Archery", "Biking"), 1):
        for group in range(1, 6):
            for cut in (1, 2):
                stem = f"v_{name}_g{group:02d}_c{cut:02d}"
                video(tmp_path / name / stem, 3)
                part = "test" if group == 5 else "train"
                listed[part].append(f"{name}/{stem}.avi" + (f" {label}" if part == "train" else ""))
    for part, lines in listed.items():
        (tmp_path / f"{part}list01.txt").write_text("\n".join(lines))
    found = load(tmp_path, "data.options.val_share=0.25")
    assert (len(found.train), len(found.val), len(found.test)) == (12, 4, 4)
    groups = [
        {video.split("_g")[1][:2] for video in s.videos.places} for s in (found.train, found.val, found.test)
    ]
    assert not groups[0] & groups[1]
    assert groups[2] == {"05"}
    (tmp_path / "testlist01.txt").write_text("Biking/v_Biking_g09_c01.avi")
    with pytest.raises(UserError, match="1 listed videos are not there, such as Biking/v_Biking_g09_c01"):
        load(tmp_path)


def test_hmdb51s_lists_and_sources_that_stay_whole(tmp_path: Path):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name in ("brush_hair", "run"):
        lines = []
        for source in range(6):
            for cut, part in ((0, 1 if source else 2), (1, 1 if source else 0)):
                stem = f"film{source}_{name}_u_cm_np1_ba_goo_{cut}"
                video(tmp_path / name / stem, 3)
                lines.append(f"{stem}.avi {part} ")
        (lists / f"{name}_test_split1.txt").write_text("\n".join(lines))
    (tmp_path / "testTrainMulti_7030_splits" / "README").touch()
    found = load(tmp_path, "data=hmdb51", "data.options.val_share=0.3")
    assert found.classes == ["brush_hair", "run"]
    assert (len(found.train) + len(found.val), len(found.test)) == (20, 2)
    sources = [{video.split("/")[1][:5] for video in s.videos.places} for s in (found.train, found.val)]
    assert not sources[0] & sources[1]
    (lists / "run_test_split1.txt").write_text("film1_run_u_cm_np1_ba_goo_0.avi 7")
    with pytest.raises(UserError, match="is not a video and 0, 1 or 2"):
        load(tmp_path, "data=hmdb51")


def test_video_files_without_a_decoder_say_what_to_do(kinetics: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "torchcodec.decoders", None)
    (kinetics / "val" / "run" / "more.avi").touch()
    with pytest.raises(UserError, match=r"pip install 'attnbench\[video\]', or extract the frames: ffmpeg"):
        load(kinetics)


def test_a_video_file_gives_the_frames_that_it_was_made_of(kinetics: Path):
    pytest.importorskip("torchcodec", reason="no torchcodec here")
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg here, to make a video with")
    frames = kinetics / "val" / "run" / "clip9"
    (before,) = (clips for clips, _ in load(kinetics).test.batches(2))
    lossless = ["-c:v", "ffv1", "-pix_fmt", "bgr0", f"{frames}.mkv"]
    command = ["ffmpeg", "-loglevel", "error", "-i", str(frames / "%03d.png"), *lossless]
    subprocess.run(command, check=True)
    shutil.rmtree(frames)
    (after,) = (clips for clips, _ in load(kinetics).test.batches(2))
    assert torch.equal(after, before)
    Path(f"{frames}.mkv").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"clip9.mkv cannot be read as a video"):
        list(load(kinetics).test.batches(2))


@pytest.mark.parametrize(
    ("words", "message"),
    [(["data.classes=3"], "set data.classes=2"), (["data.options.val_share=0.0"], "between 0 and 1")],
)
def test_what_the_folder_does_not_hold_is_refused(kinetics: Path, words: list[str], message: str):
    with pytest.raises(UserError, match=message):
        load(kinetics, *words)


def test_empty_and_damaged_folders_are_named(kinetics: Path, tmp_path: Path):
    (kinetics / "val" / "run" / "clip9" / "001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"clip9/001.png cannot be read"):
        list(load(kinetics).test.batches(2))
    (kinetics / "train" / "run" / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no frames"):
        load(kinetics)
    with pytest.raises(UserError, match="holds neither train/ and val/"):
        load(kinetics / "train")


def test_frames_of_different_sizes_are_named(kinetics: Path):
    Image.new("RGB", (5, 5)).save(kinetics / "val" / "run" / "clip9" / "001.png")
    with pytest.raises(UserError, match="differs in size"):
        list(load(kinetics).test.batches(2))


# MNIST


def idx(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    file.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", rng.integers(1, 256, (count, 28, 28)))
        idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


def images(folder: Path, *arguments: str):
    return data.load(cell(["data=mnist", f"data.root={folder}", *arguments]).config.data, CPU, 0, "cls")


def test_digits_as_they_are(digits: Path):
    found = images(digits)
    assert (len(found.train), len(found.val), len(found.test)) == (54, 6, 20)
    assert next(iter(found.test.batches(2)))[0].shape == (2, 1, 28, 28)


def test_translated_digits_are_whole_and_lie_anywhere():
    pictures = generator(0).integers(1, 256, (200, 28, 28)).astype(np.uint8)
    moved = mnist.translated(pictures, 60, 0, generator(1))
    assert moved.shape == (200, 60, 60)
    assert ((moved > 0).sum((1, 2)) == 784).all()
    firsts = set()
    for before, after in zip(pictures, moved):
        down, right = (after > 0).any(1).argmax(), (after > 0).any(0).argmax()
        assert (after[down : down + 28, right : right + 28] == before).all()
        firsts.add((int(down), int(right)))
    assert len(firsts) > 150


def test_clutter_is_pieces_of_others():
    pictures = generator(0).integers(1, 256, (50, 28, 28)).astype(np.uint8)
    plain, cluttered = (mnist.translated(pictures, 60, n, generator(1)) for n in (0, 4))
    more = (cluttered > 0).sum((1, 2)) - 784
    assert (cluttered >= plain).all()
    assert more.max() <= 4 * 64
    assert more.mean() > 64


def test_a_canvas_is_the_same_each_time_and_the_tests_does_not_move(digits: Path):
    words = ["data.size=40", "data.options.translated=40", "data.options.clutter=2"]
    first, again, other = (
        images(digits, *words),
        images(digits, *words),
        images(digits, *words, "data.split_seed=1"),
    )
    assert first.checksum == again.checksum != other.checksum
    assert torch.equal(first.test.images, other.test.images)


def test_training_digits_move_from_epoch_to_epoch_as_seed_and_step_say(digits: Path):
    found = images(digits, "data.size=40", "data.options.translated=40", "data.options.clutter=2")

    def seen(split, **how):
        return [x for x, _ in split.batches(8, shuffle=split is found.train, **how)]

    first, again, later, other = (
        seen(found.train, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert {x.shape[1:] for x in first} == {(1, 40, 40)}
    for moved in (later, other):
        assert not any(torch.equal(a, b) for a in first[0] for b in torch.cat(moved))
    assert all(torch.equal(a, b) for a, b in zip(first[3:], seen(found.train, start=3), strict=True))
    for whole, parts in zip(first, zip(*(seen(found.train, rank=rank, world=2) for rank in (0, 1)))):
        for rank, part in enumerate(parts):
            assert torch.equal(whole[rank::2], part)
    cut = seen(found.train, augment=Augment(crop="resized", scale=[0.2, 0.2], flip=False))
    assert cut[0].shape == first[0].shape and cut[0].std() > 0
    assert not any(torch.equal(a, b) for a, b in zip(first[0], cut[0], strict=True))
    for split in (found.val, found.test):
        assert all(torch.equal(a, b) for a, b in zip(seen(split), seen(split, seed=1, epoch=1), strict=True))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.options.translated=20"], "at least 28 px"),
        (["data.options.clutter=4"], "set translated too"),
        (["data.options.translate=60"], "did you mean translated"),
    ],
)
def test_canvases_that_cannot_be_are_refused(digits: Path, words: list[str], message: str):
    with pytest.raises(UserError, match=message):
        images(digits, *words)


def test_missing_and_damaged_files_are_told(digits: Path, tmp_path: Path):
    file = digits / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="missing or damaged"):
        images(digits)
    file.unlink()
    with pytest.raises(UserError, match=r"missing or damaged.*fetches it"):
        images(digits)


@pytest.mark.data
def test_the_real_digits(data_root: Path):
    if not (data_root / "mnist_small").is_dir():
        pytest.skip("no MNIST beside the other data sets")
    found = images(data_root / "mnist_small")
    assert (len(found.train), len(found.val), len(found.test)) == (9000, 1000, 10_000)


# Names of frames


def test_frames_are_read_in_the_order_of_their_numbers(tmp_path: Path):
    for name in ("jump", "run"):
        for part, count in (("train", 4), ("val", 1)):
            for i in range(count):
                place = tmp_path / part / name / f"clip{i}"
                place.mkdir(parents=True)
                for t in range(1, 13):
                    Image.new("RGB", (8, 8), (20 * t, 0, 0)).save(place / f"{t}.png")
    (clips,) = (x for x, _ in load(tmp_path).test.batches(4))
    red = clips[0, :, 0, 0, 0]
    assert red[0] < red[1] < red[2]  # frames 3, 7 and 11; as text the order is 1, 10, 11, 12, 2, ...


def test_frames_of_several_kinds_are_refused_until_one_is_named(kinetics: Path):
    before = load(kinetics).checksum
    for place in kinetics.glob("*/*/*"):
        for t in range(6):
            Image.new("L", (12, 10), 128).save(place / f"flow_x_{t:05d}.jpg")
            Image.new("L", (12, 10), 128).save(place / f"flow_y_{t:05d}.jpg")
    with pytest.raises(
        UserError,
        match=r"frames of several kinds: \*\.png, flow_x_\*\.jpg, flow_y_\*\.jpg: .*pattern=",
    ):
        load(kinetics)
    assert load(kinetics, "data.pattern='???.png'").checksum == before
    assert load(kinetics, "data.pattern='flow_x_*'").checksum != before
    with pytest.raises(UserError, match="holds no frames"):
        load(kinetics, "data.pattern='img_*'")


def test_videos_with_names_that_are_not_utf_8_are_read(kinetics: Path):
    import os

    os.rename(kinetics / "train" / "run" / "clip0", os.fsencode(kinetics / "train" / "run") + b"/\xff\xfe")
    found = load(kinetics)
    assert len(found.train) + len(found.val) == 12
    assert sum(len(x) for x, _ in found.train.batches(4)) == len(found.train)


def test_frames_of_many_videos_share_their_names(kinetics: Path):
    videos = load(kinetics).train.videos
    assert len({id(names) for names in videos.frames}) == 1


def test_a_damaged_frame_that_evaluation_reads_is_named_before_training(kinetics: Path):
    (kinetics / "val" / "run" / "clip9" / "002.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 file cannot be used .*clip9/002\.png is empty"):
        load(kinetics)
