"""Counting whole networks: every mechanism in every family, parts that add up, kept counts, speed."""

import copy
import json
import time
from functools import cache

import pytest
import torch
from torch import nn

from attnbench import backbones, cost, mechanisms
from attnbench.cost.counting.tree import Tree, tree
from attnbench.cost.store import COUNTED, PACKAGE, digests
from attnbench.errors import Impossible
from attnbench.grafting.graft import graft, places
from attnbench.mechanisms.base import Place
from tests.networks import backbone

FAMILIES = [
    "resnet8",
    "resnet18",
    "resnet50",
    "mobilenetv2_100",
    "regnety_008",
    "densenet121",
    "convnext_tiny",
    "vit_tiny_patch16_224",
    "swin_tiny",
]
TRACED = ["resnet8", "mobilenetv2_100", "swin_tiny"]  # the trace runs for real, which takes its time
NAMES = [name for name in mechanisms.entries() if name != "none"]
FIGURES = ("macs", "elementwise", "activations")


def side(family: str) -> int:
    return 32 if family == "resnet8" else 224 if "vit" in family or "swin" in family else 96


@cache
def network(family: str) -> nn.Module:
    image = (3, side(family), side(family))
    return backbones.build(backbone(family), 10, image)


@cache
def middle(family: str, site: str) -> Place:
    """The place in the middle of a site, of `residual` where the family lacks it."""
    sites = backbone(family).sites
    where = sites.get(site, sites["residual"])
    found = places(network(family), where, (3, side(family), side(family)))
    return found[len(found) // 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_counters_count_all_of_every_family(family):
    image = (3, side(family), side(family))
    quick = cost.count(network(family), image)
    assert quick["uncounted"] == []
    assert quick == cost.count(network(family), image, "fvcore")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_mechanism_is_counted_whole_by_both_counters(family, name):
    site = mechanisms.entry(name).sites[-1]
    try:
        place = middle(family, site)
        module = mechanisms.load(name).at(place)
    except Impossible as reason:
        pytest.skip(str(reason))
    image = (place.channels, *place.size)
    quick = cost.count(module, image)
    assert quick["uncounted"] == []
    assert quick["macs"] + quick["elementwise"] > 0
    if family not in TRACED:
        return
    traced = cost.count(module, image, "fvcore")
    assert quick == traced


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graft_adds_exactly_its_mechanisms_and_the_parts_add_up(family):
    image = (3, side(family), side(family))
    site = backbone(family).sites["residual"]
    grafted = copy.deepcopy(network(family))
    here = places(grafted, site, image)
    modules = graft(grafted, "se", {}, site, image)
    assert len(modules) == len(here)
    alone = [cost.count(m, (p.channels, *p.size)) for m, p in zip(modules, here)]
    before, after = cost.count(network(family), image), cost.count(grafted, image)
    assert all(after[k] - before[k] == sum(a[k] for a in alone) for k in FIGURES)
    total = cost.parameters(grafted)
    assert total["params_attention"] == total["params"] - cost.parameters(network(family))["params"]
    check_parts(tree(grafted, image), after, total)


def check_parts(found: Tree, counted: dict[str, int], total: dict[str, int]) -> None:
    assert found.uncounted == []
    assert found.network.work._asdict() == {k: counted[k] for k in FIGURES}
    assert found.network.params == total["params"]
    for _, part in found.network.rows():
        if part.children:
            assert part.params == sum(c.params for c in part.children)
            assert part.work == tuple(map(sum, zip(*(c.work for c in part.children))))
    parts = {part.name: part for part in found.network.children}
    assert list(parts)[:3] in (["stem", "stages", "mechanism"], ["stages", "mechanism", "head"])
    assert parts["mechanism"].params == total["params_attention"]
    assert parts["stages"].work.macs > 0.8 * found.network.work.macs


def test_the_tree_prints_and_names_what_it_could_not_count():
    from rich.console import Console

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), Gamma()), nn.Flatten())
    console = Console(record=True, width=100)
    cost.show(model, (3, 2, 2), console)
    text = console.export_text()
    assert "aten::digamma" in text
    assert "36" in text  # parameters: 3 * 4 + 4 of the first convolution, 4 * 4 + 4 of the second


class Gamma(nn.Module):
    def forward(self, x):
        return torch.digamma(x)


def test_parameters_are_counted_once_and_by_kind():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.BatchNorm1d(4), shared)
    assert cost.parameters(model) == {
        "params": 16 + 4 + 8,
        "params_attention": 0,
        "buffers": 9,
        "params_no_decay": 0,
    }


def test_parameters_without_weight_decay_are_those_that_ask():
    vit = cost.parameters(network("vit_tiny_patch16_224"))
    assert vit["params_no_decay"] == 192 + 197 * 192  # class token and positions, as timm says

    class Grafted(mechanisms.load("se")):
        def no_weight_decay(self):
            return {"reduce.bias"}

    assert cost.parameters(Grafted(64))["params_no_decay"] == 4
    assert cost.parameters(nn.Sequential(Grafted(64), Grafted(64)))["params_no_decay"] == 8


def test_kept_counts_are_not_counted_again(tmp_path):
    store = cost.Store(tmp_path, {"backbone": "resnet8"})
    calls = []

    def compute():
        calls.append(1)
        return {"macs": 7}

    assert store.get(compute, input=(3, 32, 32)) == store.get(compute, input=(3, 32, 32)) == {"macs": 7}
    assert len(calls) == 1
    assert store.get(compute, input=(3, 64, 64)) == {"macs": 7}
    assert cost.Store(tmp_path, {"backbone": "resnet20"}).get(compute, input=(3, 32, 32)) == {"macs": 7}
    assert len(calls) == 3


def test_a_damaged_file_of_kept_counts_is_written_anew(tmp_path):
    store = cost.Store(tmp_path)
    store.get(lambda: {"macs": 7})
    [file] = tmp_path.iterdir()
    whole = file.read_text()
    file.write_text(whole[:20])
    assert store.get(lambda: {"macs": 7}) == {"macs": 7}
    assert json.loads(file.read_text()) == json.loads(whole)


def test_without_a_folder_nothing_is_kept():
    assert cost.Store().get(lambda: {"macs": 1}) == {"macs": 1}
    assert cost.Store().get(lambda: {"macs": 2}) == {"macs": 2}


def test_the_code_that_decides_counts_exists_and_each_part_of_it_matters(tmp_path):
    (tmp_path / "mechanisms").mkdir()
    (tmp_path / "mechanisms" / "se.py").write_text("REDUCTION = 16")
    (tmp_path / "run.py").write_text("")
    before = digests(tmp_path, ("mechanisms", "run.py"))
    assert list(before) == ["mechanisms/se.py", "run.py"]
    (tmp_path / "mechanisms" / "se.py").write_text("REDUCTION = 8")
    after = digests(tmp_path, ("mechanisms", "run.py"))
    assert before != after and before["run.py"] == after["run.py"]
    with pytest.raises(FileNotFoundError, match=r"has no graft\.py"):
        digests(tmp_path, ("mechanisms", "graft.py"))
    assert {"mechanisms", "grafting", "cost"} <= {name.split("/")[0] for name in digests(PACKAGE, COUNTED)}


@pytest.mark.slow
def test_counting_on_a_resnet50_is_quick_and_no_slower_than_timms_way():
    from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis

    model, image = network("resnet50"), (3, 224, 224)
    site = backbone("resnet50").sites["residual"]

    def spent(work):
        start = time.process_time()
        work()
        return time.process_time() - start

    def theirs():
        images = (torch.ones(1, *image),)
        FlopCountAnalysis(model.eval(), images).unsupported_ops_warnings(False).total()
        ActivationCountAnalysis(model, images).unsupported_ops_warnings(False).total()

    cost.count(model, image)  # torch loads its meta kernels once
    assert min(spent(lambda: cost.count(model, image)) for _ in range(2)) < spent(theirs)
    for name in ("se", "simam", "gct", "srm", "danet"):
        grafted = copy.deepcopy(model)
        if name in mechanisms.entries():
            graft(grafted, name, {}, site, image)
            assert spent(lambda: (cost.count(grafted, image), cost.parameters(grafted))) < 2, name  # noqa: B023
