"""Controls of equal cost: forms of a backbone, the search among them, and the networks that runs build."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from attnbench import cost, running, tasks
from attnbench.backbones import _sizes as sizes
from attnbench.backbones import build, size
from attnbench.backbones._sizes import Size
from attnbench.cell import Cell
from attnbench.config.load import configure
from attnbench.cost.equal import nearest, refined
from attnbench.errors import Impossible, UserError
from tests.networks import backbone


def test_widths_grow_one_step_at_a_time_in_the_original_s_proportions():
    forms = [form["widths"] for form in Size({"widths": (16, 32, 64)}).widths()]
    assert [16, 32, 64] in forms and forms[0] == [4, 8, 17] and forms[-1][2] > 500
    after = forms[forms.index([16, 32, 64]) + 1]
    assert after == [16, 32, 65]
    assert all(sum(b) - sum(a) == 1 for a, b in pairwise(forms))
    assert all(abs(c - 4 * a) <= 4 for a, b, c in forms)


def test_widths_stay_multiples_of_what_heads_need():
    forms = [form["embed_dim"] for form in Size({"embed_dim": (192,)}, multiple=3).widths()]
    assert 192 in forms and all(form % 3 == 0 for form in forms)


def test_depths_grow_by_a_block_in_the_last_stages_first():
    forms = [form["layers"] for form in Size(depth={"layers": (3, 4, 6, 3)}).depths()]
    assert forms[:6] == [[3, 4, 6, 3], [3, 4, 6, 4], [3, 4, 7, 4], [3, 5, 7, 4], [4, 5, 7, 4], [4, 5, 7, 5]]


@pytest.mark.parametrize("name", ["resnet8", "wrn_28_10", "resnet18", "convnext_tiny", "swin_tiny"])
@pytest.mark.parametrize("kind", ["width", "depth"])
def test_backbones_are_built_in_other_sizes(name, kind):
    image = (3, 224, 224) if name == "swin_tiny" else (3, 32, 32)
    plain = backbone(name)
    with torch.device("meta"):
        network = build(plain, 10, image)
        own = size(plain, network)
        forms = sizes.forms(plain, own, kind)
        [(argument, numbers)] = getattr(own, kind).items()
        now = list(numbers) if len(numbers) > 1 else numbers[0]
        at = [form.args[argument] for form in forms].index(now)
        assert params(build(forms[at], 10, image)) == params(network)
        assert params(build(forms[at + 1], 10, image)) > params(network)


def params(network):
    return sum(p.numel() for p in network.parameters())


def test_pretrained_and_unknown_backbones_have_no_other_size():
    with pytest.raises(Impossible, match="pretrained weights fit no other width"):
        sizes.forms(replace(backbone("resnet18"), pretrained=True), Size({"channels": (64,)}), "width")
    with pytest.raises(Impossible, match="not stated which of its arguments change its depth"):
        sizes.forms(backbone("vgg16_bn"), Size(), "depth")


@pytest.mark.parametrize("target, found", [(0, 0), (9, 3), (12, 3), (13, 4), (100, 10), (14, 4)])
def test_the_nearest_form_is_found(target, found):
    assert nearest(range(11), target, lambda n: n * n) == found


def test_a_target_outside_of_all_forms_is_impossible():
    with pytest.raises(Impossible, match="cost 0 to 100, the candidate 101"):
        nearest(range(11), 101, lambda n: n * n)


def test_small_steps_lead_nearer_and_stop_where_none_does():
    assert refined(10, 1300, lambda n: n * 100, lambda n: [n - 1, n + 1]) == 13
    assert refined(10, 1300, lambda n: n * 100, lambda n: [n - 1]) == 10


def test_neighbours_keep_to_one_side_of_the_original():
    wider = replace(backbone("resnet8"), args={"depth": 8, "widths": [16, 32, 65]})
    forms = [b.args["widths"] for b in sizes.neighbours(wider, Size({"widths": (16, 32, 64)}))]
    assert forms == [[17, 32, 65], [16, 33, 65], [16, 32, 64], [16, 32, 66]]


def cell(*words: str, runs: object) -> Cell:
    return Cell(configure([*words, f"runs={runs}", "data.size=16"]))


@pytest.mark.parametrize("by, near", [("macs", 0.01), ("params", 0.02)])
def test_the_wider_control_costs_as_much_as_its_candidate(tmp_path, by, near):
    candidate = cell("attn=cbam", runs=tmp_path) if by == "params" else cell("attn=non_local", runs=tmp_path)
    control = cell("attn=wide", f"attn.of={candidate.mechanism}", f"attn.by={by}", runs=tmp_path)
    assert (
        control.site == candidate.site and control.table == candidate.table and control.key != candidate.key
    )
    shape = tasks.load(control.config).cost_shape
    theirs, ours = (running.build(c) for c in (candidate, control))
    assert figure(ours, shape, by) == pytest.approx(figure(theirs, shape, by), rel=near)
    assert cost.parameters(ours)["params_attention"] == 0
    assert figure(ours, shape, by) > figure(running.build(cell(runs=tmp_path)), shape, by)


def figure(network, shape, by):
    return cost.count(network, shape)["macs"] if by == "macs" else params(network)


def test_the_search_is_kept_for_other_seeds(tmp_path, monkeypatch):
    words = ("attn=wide", "attn.of=se", "attn.by=params")
    first = cost.equal.resized(cell(*words, runs=tmp_path), running.build)
    monkeypatch.setattr(cost.equal, "_search", None)
    assert cost.equal.resized(cell(*words, "seed=7", runs=tmp_path), running.build) == first
    assert first.args["widths"] > [16, 32, 64]
    assert cost.equal.resized(cell("attn=se", runs=tmp_path), running.build) is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["attn=wide"], "attn.of names the mechanism to compare with"),
        (["attn=wide", "attn.of=deep"], "attn.of names the mechanism to compare with"),
        (["attn=wide", "attn.of=cbma"], "unknown mechanism 'cbma': did you mean cbam"),
        (["attn=wide", "attn.of='se(reductoin=8)'"], "did you mean reduction"),
        (["attn=wide", "attn.of='se(reduction'"], "names no mechanism: write it like se or se"),
        (["attn=deep", "attn.of=se", "attn.by=time"], "attn.by"),
    ],
)
def test_controls_without_a_candidate_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        configure(words)


def test_a_backbone_s_widths_and_blocks_are_arguments_and_checked():
    own = backbone("resnet8", args={"depth": 8, "widths": [8, 16, 32], "blocks": [1, 2, 1]})
    network = build(own, 10, (3, 32, 32))
    assert [info["num_chs"] for info in network.feature_info] == [8, 16, 32] and len(network.layer2) == 2
    for args in ({"widths": [32, 16, 8]}, {"widths": [8, 16]}, {"blocks": [1, 0, 1]}):
        with pytest.raises(UserError, match=next(iter(args))):
            build(backbone("resnet8", args={"depth": 8, **args}), 10, (3, 32, 32))
