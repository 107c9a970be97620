"""Clips: the embedded set, whose labels are the order of frames; the task, its controls, mechanisms in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from attnbench import data, running, tasks
from attnbench.config.recipe import Augment
from attnbench.data.pipeline.order import generator
from attnbench.data.scenes import clips as scenes_clip
from attnbench.errors import Impossible, UserError
from attnbench.grafting.graft import graft
from attnbench.sweeping.experiment import cell
from attnbench.tasks._clips import TemporalLSTM, TemporalMean

CPU = torch.device("cpu")
SMALL = ["data.size=16", "data.frames=4", "data.train=96", "data.val=16", "data.test=16"]


def network(*arguments: str):
    each = cell(["task=clip", *SMALL, *arguments])
    return running.build(each, tasks.load(each.config)), each.config


# The data


def test_time_reversed_a_clip_is_one_of_the_opposite_class():
    labels = np.arange(80) % 8
    poses, strength = scenes_clip.motion(generator(3), labels, 5)
    back, back_strength = scenes_clip.motion(generator(3), labels ^ 1, 5)
    for here, there in zip(poses, reversed(back)):
        assert all(torch.equal(a, b) for a, b in zip(here, there))
    assert torch.equal(strength, back_strength.flip(1))


def test_the_opposite_class_is_another_clip():
    """Nothing moves in a clip whose frames are all alike; in each class something does."""
    labels = np.arange(8)
    poses, strength = scenes_clip.motion(generator(3), labels, 5)
    first = torch.cat([poses[0].centre, poses[0].side[:, None], strength[:, :1]], 1)
    last = torch.cat([poses[-1].centre, poses[-1].side[:, None], strength[:, -1:]], 1)
    assert ((last - first).abs().amax(1) > 0.1).all()


def test_classes_move_as_they_are_called():
    poses, strength = scenes_clip.motion(generator(0), np.arange(8), 3)
    moved = poses[-1].centre - poses[0].centre
    right, left, down, up = moved[0, 1], moved[1, 1], moved[2, 0], moved[3, 0]
    assert right > 0 > left
    assert down > 0 > up
    assert poses[-1].side[4] > poses[0].side[4]
    assert poses[-1].side[5] < poses[0].side[5]
    assert strength[6, -1] > strength[6, 0]
    assert strength[7, -1] < strength[7, 0]


def test_digits_stay_within_the_picture():
    poses, _ = scenes_clip.motion(generator(1), np.arange(400) % 8, 6)
    for pose in poses:
        assert (pose.centre - pose.side[:, None] / 2 >= -1e-6).all()
        assert (pose.centre + pose.side[:, None] / 2 <= 1 + 1e-6).all()


@pytest.fixture(scope="module")
def moving():
    config = cell(["task=clip", *SMALL]).config
    return data.load(config.data, CPU, 0, "clip")


def test_splits_hold_the_classes_in_equal_numbers_and_other_clips(moving):
    assert moving.classes == list(scenes_clip.CLASSES)
    assert np.bincount(moving.train.labels).tolist() == [12] * 8
    assert not torch.equal(moving.val.images, moving.test.images)


def test_clips_are_the_same_whenever_they_are_made(moving):
    scenes_clip.paint.cache_clear()
    config = cell(["task=clip", *SMALL]).config
    again = data.load(config.data, CPU, 0, "clip")
    other = data.load(replace(config.data, split_seed=1), CPU, 0, "clip")
    assert again.checksum == moving.checksum != other.checksum
    assert torch.equal(other.test.images, moving.test.images)


def test_batches_are_clips_and_do_not_depend_on_where_the_pass_began(moving):
    augment = Augment(crop="pad", padding=2, flip=False)
    whole = list(moving.train.batches(32, seed=1, epoch=2, augment=augment, shuffle=True))
    assert whole[0][0].shape == (32, 4, 3, 16, 16)
    (images, targets), *_ = moving.train.batches(32, seed=1, epoch=2, augment=augment, shuffle=True, start=1)
    assert torch.equal(images, whole[1][0])
    assert torch.equal(targets, whole[1][1])
    mine = next(
        iter(moving.train.batches(32, seed=1, epoch=2, augment=augment, shuffle=True, rank=1, world=2))
    )
    assert torch.equal(mine[0], whole[0][0][1::2])


def test_all_frames_of_a_clip_are_shifted_alike(moving):
    still = moving.train.images.clone()
    moving.train.images[:] = still[..., :3].repeat(1, 1, 1, 4)
    try:
        augment = Augment(crop="pad", padding=4, flip=True, cutout=6)
        images, _ = next(iter(moving.train.batches(16, augment=augment, shuffle=True)))
    finally:
        moving.train.images[:] = still
    assert torch.equal(images[:, 0], images[:, 3])
    assert len({image.sum().item() for image in images[:, 0]}) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe.augment.flip=true"], "left and right are part of the labels"),
        (["recipe.augment.mixup=0.2"], "cannot mix its targets"),
        (["backbone=lstm"], "takes skeletons"),
    ],
)
def test_what_would_spoil_the_labels_is_refused(arguments: list[str], message: str):
    with pytest.raises(UserError, match=message):
        cell(["task=clip", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.frames=1"], "at least 2 frames"),
        (["data.width=20"], "square"),
        (["data.classes=9"], "has 8"),
        (["data.channels=1", "data.mean=[0.5]", "data.std=[0.2]"], "has 3"),
    ],
)
def test_clips_that_cannot_be_are_refused(arguments: list[str], message: str):
    with pytest.raises(UserError, match=message):
        data.load(cell(["task=clip", *arguments]).config.data, CPU, 0, "clip")


# The task


def test_the_control_forgets_order_and_the_recurrent_one_does_not():
    clips = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for head, same in (("mean", True), ("lstm", False)):
        model, _ = network(f"task.options.head={head}")
        model.eval()
        assert torch.allclose(model(clips), model(clips.flip(1)), atol=1e-5) == same


def test_the_backbone_sees_each_frame_alone():
    model, _ = network()
    model.eval()
    clips = torch.randn(2, 4, 3, 16, 16)
    alone = torch.stack([model.maps(clips[:, t : t + 1])[:, 0] for t in range(4)], 1)
    assert torch.allclose(model.maps(clips), alone, atol=1e-5)


def test_heads_tell_of_themselves():
    for kind in (TemporalMean, TemporalLSTM):
        head = kind(12, 5)
        maps = torch.randn(2, 3, 12, 4, 4)
        assert (head.classes, head.width) == (5, 12)
        assert torch.equal(head(maps), head.classify(head.embed(maps)))
        assert head.embed(maps).shape == (2, 12)


@pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny_patch16_224"])
def test_networks_of_timm_serve_as_backbones(backbone: str):
    each = cell(["task=clip", f"backbone={backbone}", "data.size=32", "data.frames=2"])
    model = running.build(each).eval()
    assert model(torch.randn(1, 2, 3, 32, 32)).shape == (1, 8)
    assert model.maps(torch.randn(1, 2, 3, 32, 32)).ndim == 5


def test_unknown_heads_and_options_are_named():
    with pytest.raises(UserError, match="did you mean mean"):
        network("task.options.head=meen")
    with pytest.raises(UserError, match="did you mean head"):
        network("++task.options.haed=mean")


def test_a_backbone_without_maps_is_impossible():
    with pytest.raises(Impossible, match="makes no maps"):
        network("backbone=whole")


# Mechanisms


def test_image_mechanisms_see_frames_as_images():
    model, config = network("attn=se", "site=residual")
    (weights, *_) = [m for m in model.modules() if type(m).__name__ == "SE"]
    seen = []
    weights.register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    model(torch.randn(2, 4, 3, 16, 16))
    assert seen == [(8, 16, 16, 16)]
    assert config.sites["residual"].after == ["encoder.layer*.*.bn2"]


def test_clip_mechanisms_see_frames_in_order():
    from attnbench.mechanisms.base import Mechanism, Place

    class Backwards(Mechanism):
        reads = "clip"

        def __init__(self, channels: int, frames: int | None) -> None:
            super().__init__()
            self.frames = frames

        @classmethod
        def at(cls, place: Place) -> "Backwards":
            return cls(place.channels, place.frames)

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1] == self.frames
            return x.flip(1)

    model, config = network()
    model.eval()
    clips = torch.randn(2, 4, 3, 16, 16)
    plain = model.maps(clips)
    found = graft(model, Backwards, {}, config.sites["stage"], (4, 3, 16, 16))
    assert [m.frames for m in found] == [4, 4, 4]
    # Three stages turn the clip round three times, and without a temporal part the frames stay their own.
    assert torch.allclose(model.maps(clips), plain.flip(1), atol=1e-5)


@pytest.mark.parametrize(
    ("attn", "site", "message"),
    [
        ("se", "head", "SE expects maps but receives clips"),
        ("gltr", "residual", "head"),
        ("tam", "conv", "TAM cannot replace a convolution"),
    ],
)
def test_what_cannot_stand_there_is_impossible(attn: str, site: str, message: str):
    with pytest.raises(Impossible, match=message):
        network(f"attn={attn}", f"site={site}")


@pytest.mark.parametrize(("attn", "site"), [("gltr", "paper"), ("tam", "temporal"), ("rstan", "paper")])
def test_temporal_mechanisms_stand_where_their_papers_put_them(attn: str, site: str):
    model, _ = network(f"attn={attn}", f"site={site}")
    scores = model(torch.randn(4, 4, 3, 16, 16))
    assert scores.shape == (4, 8)
    scores.sum().backward()


def test_costs_are_of_a_whole_clip():
    from attnbench import cost

    one, _ = network("data.frames=2")
    two, _ = network("data.frames=4")
    few, many = (cost.count(m, (t, 3, 16, 16))["macs"] for m, t in ((one, 2), (two, 4)))
    head = 64 * 8
    assert many - head == 2 * (few - head)


def test_a_cell_runs_to_its_record_and_shows_the_same_numbers_again(tmp_path):
    words = ["task=clip", *SMALL, "recipe.epochs=1", "cost.latency=false", "cost.memory=false"]
    where = [f"results={tmp_path}/{{}}", f"runs={tmp_path}/{{}}"]
    records = [running.run(cell([*words, *(w.format(n) for w in where), "hardware.threads=1"])) for n in "ab"]
    first, second = (record["metrics"]["test"] for record in records)
    assert records[0]["status"] == "done", records[0]["reason"]
    assert first == second
    assert records[0]["cost"]["input"] == [4, 3, 16, 16]
