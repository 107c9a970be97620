"""Confusion matrix, boundary score and pixel losses against cases worked by hand and plain loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from attnbench.data.pipeline.masks import Masks
from attnbench.tasks.segmentation.loss import hard, segmentation_loss
from attnbench.tasks.segmentation.metrics import Meter, boundary_f1, edges, grow

CPU = torch.device("cpu")


def logits_of(predicted, classes):
    """Logits that choose the predicted classes."""
    return 10 * F.one_hot(torch.as_tensor(predicted), classes).movedim(-1, 1).float()


def measured(predicted, labels, names="abc", **options):
    meter = Meter(list(names), 255, CPU, options)
    meter.update(logits_of(predicted, len(names)), torch.as_tensor(labels))
    return meter.compute()


def test_a_case_worked_by_hand():
    labels = [[[0, 0, 1], [1, 2, 255]]]
    predicted = [[[0, 1, 1], [1, 0, 2]]]
    result = measured(predicted, labels)
    # a: 1 of {1 right, 1 missed, 1 wrongly given}; b: 2 right, 1 wrongly given; c: none right, 1 missed
    assert result["iou_a"] == pytest.approx(100 / 3)
    assert result["iou_b"] == pytest.approx(200 / 3)
    assert result["iou_c"] == 0
    assert result["miou"] == pytest.approx(100 / 3)
    assert result["pixel_accuracy"] == pytest.approx(60)
    assert result["mean_accuracy"] == pytest.approx(50)


def test_the_best_that_one_class_everywhere_scores():
    labels = torch.tensor([[[0, 0, 1, 1], [1, 2, 2, 255]]])
    best = max(measured(torch.full_like(labels, each) % 4, labels, "abcd")["miou"] for each in range(3))
    result = measured(torch.zeros_like(labels), labels, "abcd")  # of d there is nothing
    assert result["miou_constant"] == pytest.approx(best) == pytest.approx(100 * 3 / 7 / 3)
    assert math.isnan(measured([[[0]]], [[[255]]])["miou_constant"])


def test_a_class_in_neither_map_leaves_the_mean():
    result = measured([[[0, 1]]], [[[0, 1]]])
    assert result["miou"] == result["mean_accuracy"] == 100
    assert math.isnan(result["iou_c"])


def test_a_class_given_but_never_true_counts_as_wrong():
    result = measured([[[0, 2]]], [[[0, 0]]])
    assert result["iou_c"] == 0 and result["miou"] == pytest.approx(25)
    assert result["mean_accuracy"] == pytest.approx(50)  # of the one class that is there


def test_ignored_pixels_count_nowhere():
    full = measured([[[0, 1, 2]]], [[[0, 1, 255]]])
    assert full["pixel_accuracy"] == 100 and math.isnan(full["iou_c"])
    nothing = measured([[[0]]], [[[255]]])
    assert math.isnan(nothing["miou"]) and math.isnan(nothing["loss"])


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(ValueError, match="label above 2"):
        measured([[[0, 1]]], [[[3, 1]]])


def test_equal_to_a_loop_over_random_labels():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 7, (2, 3, 20, 30))
    labels[rng.random(labels.shape) < 0.2] = 255
    result = measured(predicted, labels, "abcdefg")
    ious = []
    for kind in range(7):
        truth, given = labels == kind, (predicted == kind) & (labels != 255)
        ious.append(100 * (truth & given).sum() / (truth | given).sum())
    assert result["miou"] == pytest.approx(np.mean(ious))
    assert [result[f"iou_{n}"] for n in "abcdefg"] == pytest.approx(ious)


@pytest.mark.parametrize("classes", [2, 11, 150])
def test_equal_to_torchmetrics_on_random_labels(classes):
    drawn = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (3, 33, 47), generator=drawn)
    logits = torch.randn(3, classes, 33, 47, generator=drawn) + F.one_hot(labels, classes).permute(0, 3, 1, 2)
    labels[torch.rand(labels.shape, generator=drawn) < 0.1] = 255
    meter = Meter([str(c) for c in range(classes)], 255, torch.device("cpu"), {})
    meter.update(logits, labels)
    ours, kept, predicted = meter.compute(), labels != 255, logits.argmax(1)
    among = {"num_classes": classes, "average": "none"}
    theirs = multiclass_jaccard_index(predicted[kept], labels[kept], **among)
    recall = multiclass_accuracy(predicted[kept], labels[kept], **among)
    assert [ours[f"iou_{c}"] for c in range(classes)] == pytest.approx((100 * theirs).tolist(), rel=1e-5)
    assert ours["miou"] == pytest.approx(100 * float(theirs.mean()), rel=1e-5)
    assert ours["mean_accuracy"] == pytest.approx(100 * float(recall.mean()), rel=1e-5)


def test_batches_and_processes_add_up():
    labels, logits = torch.randint(0, 3, (6, 8, 8)), torch.randn(6, 3, 8, 8)
    whole, one, two = (Meter(["a", "b", "c"], 255, CPU, {"boundary_f1": True}) for _ in range(3))
    whole.update(logits, labels)
    one.update(logits[:2], labels[:2])
    two.update(logits[2:], labels[2:])
    one.sums += two.sums
    assert one.compute() == pytest.approx(whole.compute())
    assert whole.compute()["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_boundary_score_of_equal_maps_is_one_and_of_uniform_ones_none():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, 2:5, 2:5] = 1
    scores = boundary_f1(labels, labels, 3)
    assert scores[0] == 1 and scores[1].isnan()


def test_boundaries_within_the_tolerance_are_right():
    """200 x 150 px: a diagonal of 250 px, a tolerance of 1.875 px. One px off is right, two are not."""
    truth = torch.zeros(1, 150, 200, dtype=torch.long)
    truth[..., 100:] = 1
    for shift, expected in ((0, 1.0), (1, 1.0), (2, 0.0)):
        given = torch.zeros_like(truth)
        given[..., 100 + shift :] = 1
        assert float(boundary_f1(given, truth, 2)) == pytest.approx(expected)


def test_boundary_score_worked_by_hand():
    """Tolerance below a pixel: places must be the same."""
    truth, given = torch.zeros(2, 1, 6, 6, dtype=torch.long)
    truth[0, :, 3:] = 1  # boundary of 0: column 2; of 1: column 3
    given[0, :3, 3:] = 1  # of 0: column 2 above, row 3 right of it; of 1: column 3 above and row 2
    zero = (2 * (3 / 6) * (3 / 6)) / (3 / 6 + 3 / 6)  # 3 of 6 pixels of column 2; given: 3 above + 3 in row 3
    one = (2 * (3 / 5) * (3 / 6)) / (3 / 5 + 3 / 6)  # given: 3 of column 3 and 2 more of row 2
    assert float(boundary_f1(given, truth, 2)) == pytest.approx((zero + one) / 2)


def test_the_rim_of_ignored_pixels_is_no_boundary():
    labels = torch.full((1, 5, 5), 255)
    labels[0, 1:4, 1:4] = 1
    assert not edges(labels, 2).any()
    assert boundary_f1(torch.ones(1, 5, 5, dtype=torch.long), labels, 2).isnan().all()


def test_growing_reaches_pixels_nearer_than_the_radius():
    marks = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
    marks[..., 3, 3] = True
    down, right = np.mgrid[-3:4, -3:4]
    for radius in (0.5, 1.2, 1.5, 2.0, 2.9):
        assert (grow(marks, radius)[0, 0].numpy() == (np.hypot(down, right) < radius)).all()


def test_loss_is_the_mean_over_labelled_pixels():
    logits, labels = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    labels[0, :2] = 255
    assert segmentation_loss(logits, labels) == pytest.approx(
        float(F.cross_entropy(logits, labels, ignore_index=255))
    )
    weights = [1.0, 2.0, 0.0, 0.5]
    expected = F.cross_entropy(logits, labels, torch.tensor(weights), ignore_index=255)
    assert segmentation_loss(logits, labels, {"class_weights": weights}) == pytest.approx(float(expected))


def test_a_batch_without_labels_has_no_loss_and_a_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    for options in ({}, {"ohem": True}, {"class_weights": [1.0, 1.0, 1.0]}):
        loss = segmentation_loss(logits, torch.full((1, 4, 4), 255), options)
        loss.backward()
        assert loss == 0 and (logits.grad == 0).all()


def probabilities(*values):
    """Logits (1 2 1 n) whose first class has these probabilities; its labels are all 0."""
    p = torch.tensor(values)
    return torch.stack([p.log(), (1 - p).log()])[None, :, None], torch.zeros(
        1, 1, len(values), dtype=torch.long
    )


def test_hard_pixels_are_those_below_the_threshold():
    logits, labels = probabilities(0.1, 0.5, 0.69, 0.71, 0.9)
    assert hard(logits, labels, 0.7, 1)[0, 0].tolist() == [True, True, True, False, False]


def test_the_threshold_rises_until_enough_are_kept():
    logits, labels = probabilities(0.75, 0.8, 0.85, 0.9, 0.95)
    assert hard(logits, labels, 0.7, 3)[0, 0].tolist() == [True, True, True, False, False]
    assert hard(logits, labels, 0.7, 1)[0, 0].sum() == 1


def test_kept_pixels_count_for_the_whole_batch_and_ignored_ones_never():
    logits, labels = probabilities(0.75, 0.8, 0.85, 0.9, 0.95)
    labels[0, 0, 0] = 255
    both = hard(logits.repeat(2, 1, 1, 1), labels.repeat(2, 1, 1), 0.7, 2)
    assert both.sum() == 4 and not both[:, :, 0].any()


def test_loss_of_hard_pixels_is_their_mean():
    logits, labels = probabilities(0.1, 0.5, 0.9)
    loss = segmentation_loss(logits, labels, {"ohem": True, "ohem_kept": 1})
    assert loss == pytest.approx(-(math.log(0.1) + math.log(0.5)) / 2, rel=1e-5)


def sized(score: str, frame: tuple[int, int], own: tuple[int, int], inner: tuple[int, int]):
    """Metrics of random logits in a frame on random labels of their own size, and what was compared."""
    torch.manual_seed(0)
    logits = torch.randn(2, 3, *frame)
    labels = torch.randint(0, 3, (2, *own))
    labels[0, :2] = 255
    framed = torch.full((2, *frame), 255)
    small = F.interpolate(labels[:, None].float(), inner, mode="nearest")[:, 0].long()
    framed[:, : inner[0], : inner[1]] = small
    meter = Meter(["a", "b", "c"], 255, CPU, {"score": score})
    meter.update(logits, Masks(framed, np.tile(inner, (2, 1)), list(labels.to(torch.uint8))))
    return meter.compute(), logits[:, :, : inner[0], : inner[1]], labels, framed


@pytest.mark.parametrize("inner", [(6, 8), (4, 8)])
def test_masks_are_scored_at_their_own_size_without_the_frames_padding(inner):
    found, logits, labels, _ = sized("labels", (6, 8), (12, 20), inner)
    full = F.interpolate(logits, (12, 20), mode="bilinear", align_corners=False)
    options = {"num_classes": 3, "ignore_index": 255}
    iou = multiclass_jaccard_index(full, labels, average=None, **options)
    accuracy = multiclass_accuracy(full, labels, average="micro", **options)
    assert found["miou"] == pytest.approx(100 * float(iou.mean()), rel=1e-5)
    assert found["pixel_accuracy"] == pytest.approx(100 * float(accuracy), rel=1e-5)
    assert found["loss"] == pytest.approx(float(F.cross_entropy(full, labels, ignore_index=255)), rel=1e-5)


def test_scored_in_the_frame_labels_are_shrunken_and_another_figure_comes_out():
    shrunken, *_, framed = sized("frame", (6, 8), (12, 20), (6, 8))
    full, *_ = sized("labels", (6, 8), (12, 20), (6, 8))
    assert shrunken["miou"] != full["miou"]
    logits = F.one_hot(framed.clamp(max=2), 3).movedim(3, 1).float()  # perfect in the frame
    labels = torch.randint(0, 3, (2, 12, 20)).to(torch.uint8)
    targets = Masks(framed, np.tile((6, 8), (2, 1)), list(labels))
    meters = {score: Meter(["a", "b", "c"], 255, CPU, {"score": score}) for score in ("frame", "labels")}
    for meter in meters.values():
        meter.update(logits, targets)
    assert meters["frame"].compute()["miou"] == 100 > meters["labels"].compute()["miou"]


def test_where_the_frame_is_the_labels_size_both_ways_give_the_same_bits():
    one, *_ = sized("labels", (6, 8), (6, 8), (6, 8))
    other, *_ = sized("frame", (6, 8), (6, 8), (6, 8))
    assert one == other
