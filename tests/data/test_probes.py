"""Probes keep apart what they ask for: the bound is computed, shortcuts stay at it, an oracle solves them."""

import itertools

import numpy as np
import pytest
import torch

from attnbench import data
from attnbench.backbones import build
from attnbench.data.scenes.probes import SIDE, VIEW, Element, digits, factorial, row
from attnbench.errors import UserError
from attnbench.running import run
from attnbench.sweeping.experiment import cell

IMAGES = ("same", "recall", "route", "place")
ORACLES = {
    "same": ["data.options.distance=1", "data.options.inside=true", "data.width=24"],
    "recall": ["data.options.given=true"],
    "route": ["data.options.given=true"],
    "place": ["data.options.given=true"],
}


def words(probe: str, *more: str) -> list[str]:
    task = ["task=clip"] if probe == "order" else []
    return [*task, f"data=probe_{probe}", "backbone=patch8", "recipe=probe", *more]


def loaded(probe: str, *more: str):
    config = cell(words(probe, *more)).config
    return config, data.load(config.data, torch.device("cpu"), 0, config.task.name)


def plain(split) -> tuple[np.ndarray, np.ndarray]:
    return split.images.numpy().reshape(len(split.labels), -1) / 255.0, split.labels


def trained(probe: str, folder, *more: str) -> float:
    small = ["cost.latency=false", "cost.memory=false", f"results={folder}", f"runs={folder}/runs"]
    return run(cell(words(probe, *small, *more)))["metrics"]["test"]["top1"]


def test_the_last_map_of_the_network_sees_as_much_as_the_probes_assume():
    config = cell(words("same")).config
    network = build(config.backbone, 2, (3, 64, 64)).double().eval()
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    maps = network.forward_features(x)
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    seen = x.grad[0].abs().sum(0).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [VIEW, VIEW]


def test_bounds_are_the_best_that_a_sum_over_windows_can_do():
    def best(answers: dict[tuple, list[int]]) -> float:
        """Accuracy, %, of whoever sees the keys and knows how often each answer belongs to them."""
        right = sum(max(found.count(a) for a in set(found)) for found in answers.values())
        return 100 * right / sum(map(len, answers.values()))

    routes: dict[tuple, list[int]] = {}
    for first, second, asked in itertools.product(range(4), range(4), range(2)):
        routes.setdefault((first, second), []).append((first, second)[asked])
    for probe in ("recall", "route", "place"):
        assert cell(words(probe)).config.data.bound == best(routes) == 62.5
    # A sum of functions of one digit each has no term for their agreement: it is equal for both answers.
    pairs = [(a, b) for a in range(4) for b in range(4)]
    weights = np.array([1 / 8 if a == b else -1 / 24 for a, b in pairs])
    for side in (0, 1):
        for label in range(4):
            assert abs(sum(w for w, pair in zip(weights, pairs) if pair[side] == label)) < 1e-12
    assert cell(words("same")).config.data.bound == 50.0


@pytest.mark.parametrize("probe", IMAGES)
def test_what_is_asked_for_and_what_answers_lie_in_no_common_window(probe):
    _, found = loaded(probe, "data.train=128", "data.val=8", "data.test=8")
    ink = found.train.images.numpy().max(3).max(1) > 110  # columns with strokes or a bar
    for columns in ink:
        filled = np.flatnonzero(columns)
        gaps = np.diff(filled) - 1
        assert gaps.max() >= VIEW
        groups = np.split(filled, np.flatnonzero(gaps >= VIEW) + 1)
        assert len(groups) == (3 if probe == "place" else 2)


@pytest.mark.parametrize("probe", [*IMAGES, "order"])
def test_labels_are_balanced_splits_repeat_and_fewer_images_can_be_asked_for(probe):
    _, one = loaded(probe, "data.train=192", "data.val=32", "data.test=96")
    _, again = loaded(probe, "data.train=192", "data.val=32", "data.test=96")
    counts = np.bincount(one.train.labels)
    assert counts.max() == counts.min()
    assert one.checksum == again.checksum
    assert (
        loaded(probe, "data.train=192", "data.val=32", "data.test=96", "data.split_seed=1")[1].checksum
        != one.checksum
    )


def test_digits_of_different_splits_are_different():
    pools = [digits(split, 0).strokes for split in ("train", "val", "test")]
    kept = [{stroke.tobytes() for stroke in pool} for pool in pools]
    assert not kept[0] & kept[1] and not kept[0] & kept[2] and not kept[1] & kept[2]


def test_factors_are_balanced_and_independent():
    a, b = factorial(np.random.default_rng(0), 240, 3, 4)
    table = np.zeros((3, 4), int)
    np.add.at(table, (a, b), 1)
    assert (table == 20).all()


def test_a_row_keeps_its_gaps_and_reaches_both_ends():
    edges = row(np.random.default_rng(0), 500, [Element(8), Element(3, 13), Element(8, 13)], 50)
    assert (edges[:, 1] - edges[:, 0] >= 21).all() and (edges[:, 2] - edges[:, 1] >= 16).all()
    assert edges.min() == 0 and edges[:, 2].max() == 50 - SIDE
    with pytest.raises(UserError, match=r"data.width=44: .* at least 45 px"):
        row(np.random.default_rng(0), 1, [Element(8), Element(3, 13), Element(8, 13)], 44)


@pytest.mark.parametrize(
    ("probe", "more", "message"),
    [
        ("same", ["data.options.distance=9"], "a window of 13 px would hold"),
        ("same", ["data.options.inside=true", "data.bound=50"], "set data.bound=null"),
        ("same", ["data.width=30"], "need at least 36 px"),
        ("same", ["data.size=8"], "need at least 10 px"),
        ("recall", ["data.options.hues=9"], "must be 2 to 8"),
        ("recall", ["data.options.hue=3"], "hues"),
        ("order", ["data.frames=28"], "need at least 39 frames"),
        ("order", ["data.options.gap=0"], "gap=0: must be 1 or more"),
    ],
)
def test_a_probe_that_would_leak_or_does_not_fit_is_refused(probe, more, message):
    with pytest.raises(UserError, match=message):
        loaded(probe, *more)


def test_hues_are_the_ones_asked_for():
    def hues(count: int) -> int:
        _, found = loaded("recall", f"data.options.hues={count}", "data.train=512")
        right = found.train.images.numpy()[:, 0].astype(int)  # the bar reaches the top
        strong = right[np.arange(len(right)), right.sum(2).argmax(1)] > 128
        return len(np.unique(strong[:, :3], axis=0))

    assert hues(2) == 2
    assert hues(4) == 4


@pytest.mark.parametrize("probe", IMAGES)
def test_linear_models_and_color_statistics_stay_at_the_bound(probe):
    from sklearn.linear_model import LogisticRegression

    config, found = loaded(probe, "data.train=1500")
    (x, y), (test, answers) = plain(found.train), plain(found.test)

    def accuracy(of_images) -> float:
        model = LogisticRegression(C=0.1, max_iter=200).fit(of_images(x), y)
        return 100 * model.score(of_images(test), answers)

    assert accuracy(lambda images: images) < config.data.bound + 5
    assert accuracy(lambda images: images.reshape(len(images), -1, 3).mean(1)) < config.data.bound + 5


def test_the_order_of_two_events_is_lost_on_sets_of_frames_and_on_a_fixed_split_of_time():
    _, found = loaded("order", "data.train=400", "data.test=400")
    frames = found.train.images.unflatten(3, (-1, 3)).float()
    shown = (frames.amax((1, 2, 4)) > 110).numpy()
    assert (shown.sum(1) == 2).all()
    times = np.array([np.flatnonzero(clip) for clip in shown])
    first, second = times.T
    assert (second - first == 13).all()
    assert first.min() >= 6 and second.max() < 40 - 6
    assert first.max() >= second.min()  # a time in between belongs to either


@pytest.mark.slow
@pytest.mark.parametrize("probe", IMAGES)
def test_the_control_stays_at_its_bound_and_an_oracle_solves_the_probe(probe, tmp_path):
    bound = cell(words(probe)).config.data.bound
    assert trained(probe, tmp_path, "attn=none") < bound + 5
    oracle = trained(probe, tmp_path, "attn=none", "data.bound=null", *ORACLES[probe])
    assert oracle > (bound + 100) / 2


@pytest.mark.slow
def test_a_head_that_forgets_the_order_stays_at_its_bound_and_one_that_keeps_it_solves_the_probe(tmp_path):
    few = "recipe.epochs=4"
    assert trained("order", tmp_path, "attn=none", few) < 55
    assert trained("order", tmp_path, "attn=none", "task.options.head=lstm", few) > 75


def test_a_short_training_of_the_control_stays_at_its_bound(tmp_path):
    assert trained("route", tmp_path, "attn=none", "data.train=600", "recipe.epochs=2") < 67.5
