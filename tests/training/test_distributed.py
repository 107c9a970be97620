"""Two processes train the network that one trains: every backbone, every kind of norm, running buffers."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attnbench import backbones, records, running
from attnbench.config.schema import Site, names
from attnbench.grafting.attached import inside
from attnbench.grafting.calls import Calls, NotCalled, check_called
from attnbench.grafting.graft import graft, mechanisms
from attnbench.mechanisms import entries
from attnbench.sweeping.experiment import cell
from attnbench.training.distributed import Group
from attnbench.training.sync_norm import synchronize
from tests.networks import AFTER, IMAGE, backbone, images, network
from tests.training.cell_worker import in_double

CPU = torch.device("cpu")
WORDS = [
    "data=scenes",
    "data.train=32",
    "data.val=16",
    "data.test=16",
    "recipe.epochs=2",
    "recipe.evaluate_every=1",
    "recipe.batch_size=16",
    "recipe.optimizer.name=sgd",
    "recipe.optimizer.lr=0.01",
    "recipe.augment.crop=none",
    "recipe.augment.flip=false",
    "cost.latency=false",
    "cost.counters=false",
    "cost.memory=false",
    "hardware.device=cpu",
    "hardware.threads=1",
]
NARROW = {  # the same modules, lighter; stochastic depth is drawn by each process for itself
    "vgg16_bn": ["+backbone.args.mlp_ratio=0.01"],
    "wrn_28_10": ["backbone.args.width=1"],
    "attention56": ["+backbone.args.width=8"],
    "attention92": ["+backbone.args.width=8"],
    "swin_tiny": ["+backbone.args.drop_path_rate=0"],
}
FAMILIES = [
    "attention56",
    "convnext_tiny",
    "deit3_small",
    "densenet121",
    "efficientnet_b0",
    "mobilenetv2_100",
    "mobilenetv3",
    "mobilenetv3_small",
    "regnety_008",
    "resnet8",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "spnet50",
    "swin_tiny",
    "unet_small",
    "vgg16_bn",
    "vit_tiny_patch16_224",
    "wrn_28_10",
]


def of(name: str) -> list[str]:
    site = "stage" if name == "vgg16_bn" else "residual"
    return ["attn=se", f"site={site}", f"backbone={name}", *NARROW.get(name, []), *WORDS]


def curves(folder: Path, cells: Sequence[Sequence[str]], processes: int) -> list[Any]:
    """The records of the cells, in their order, each trained by so many processes."""
    cells = [[*words, f"results={folder}", f"runs={folder / 'runs'}"] for words in cells]
    if processes == 1:
        with pytest.MonkeyPatch.context() as patch:
            in_double(patch)
            for words in cells:
                running.run(cell(words))
    else:
        file = folder.with_suffix(".json")
        file.write_text(json.dumps(cells))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        worker = str(Path(__file__).with_name("cell_worker.py"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([*command, worker, str(file)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return [records.find(folder, cell(words).key) for words in cells]


def assert_equal(folder: Path, cells: Sequence[Sequence[str]]) -> None:
    ones, twos = curves(folder / "one", cells, 1), curves(folder / "two", cells, 2)
    for words, one, two in zip(cells, ones, twos):
        assert (words, one["status"], two["status"]) == (words, "done", "done"), (one, two)
        assert (one["provenance"]["processes"], two["provenance"]["processes"]) == (1, 2)
        assert one["key"] == two["key"]
        for first, second in zip(one["curve"], two["curve"], strict=True):
            for figure in ("train_objective", "val_loss"):
                assert second[figure] == pytest.approx(first[figure], rel=1e-6), (words, figure)


def test_two_processes_give_the_curves_of_one(tmp_path):
    """The batch norms of mobilenetv3 have activations of their own; ema keeps running bases.

    Images are mixed in the pairs of the whole batch, also where each process has an odd number of them;
    losses over pixels weigh those of both processes, of which one may have fewer that are labelled.
    """
    mixed = ["recipe.augment.mixup=0.8", "recipe.augment.cutmix=1", "recipe.label_smoothing=0.1"]
    pixels = ["task=seg", "data.size=16", "task.options.dropout=0", "recipe.augment.crop=scaled"]
    cells = [
        ["attn=ema", "site=late", "backbone=mobilenetv3_small", *WORDS],
        ["attn=se", "backbone=resnet8", *WORDS, *mixed, "recipe.batch_size=6"],
        ["attn=se", "backbone=resnet8", "site=residual", *WORDS, *pixels],
    ]
    assert_equal(tmp_path, cells)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_give_the_curves_of_one_on_every_family(tmp_path, family):
    assert_equal(tmp_path, [of(family)])


def test_the_families_are_those_of_the_backbones():
    """But for others of the same family, and what trains on no image of this size."""
    alike = {
        "patch8",
        "resnet20",
        "resnet26",
        "resnet32",
        "resnet56",
        "resnet110",
        "resnet34",
        "resnet101",
        "resnet152",
    }
    assert set(names("backbone")) - alike - {"spnet101", "attention92", "lstm", "whole"} == set(FAMILIES)


# The conversion itself, without a group


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "mobilenetv3_small", "regnety_008", "densenet121"])
def test_synchronized_norms_give_what_the_norms_gave(name):
    model = network(name)
    graft(model, "cbam", {}, backbone(name).sites["stage"], IMAGE)
    for training in (True, False):
        before = model.train(training)(images(4))
        state = {key: value.clone() for key, value in model.state_dict().items()}
        synchronize(model, CPU)
        assert not [m for m in model.modules() if type(m) in (nn.BatchNorm2d, nn.BatchNorm1d)]
        assert torch.allclose(model.train(training)(images(4)), before, rtol=1e-4, atol=1e-5)
        assert list(model.state_dict()) == list(state)


@pytest.mark.parametrize("name", [n for n in entries() if n != "none"])
def test_every_mechanism_is_called_after_its_norms_are_converted(name):
    config = backbone("resnet8")
    site = next((site for site in entries()[name].sites if site in config.sites), None)
    if site is None:
        pytest.skip(f"resnet8 has no site {entries()[name].sites[0]}")
    model = network()
    graft(model, name, {}, config.sites[site], IMAGE)
    before = model(images())
    calls = Calls(model)
    synchronize(model, CPU)
    calls.open()
    assert torch.allclose(model(images()), before, atol=1e-5)
    calls.check("after conversion")


# The guard


class Forgetful(nn.Module):
    """A network whose converted form goes around its second block."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.converted = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x if self.converted else self.second(x)


def test_a_mechanism_that_is_not_called_is_named():
    model = Forgetful()
    graft(model, "se", {}, Site(after=["first", "second"]), IMAGE)
    check_called(model, images())
    model.converted = True
    with pytest.raises(
        NotCalled, match=r"^not called in a forward pass: second.attention \(SE\), second \(SE\)$"
    ):
        check_called(model, images())
    with pytest.raises(NotCalled, match="no mechanism"):
        check_called(Forgetful(), images())


def test_a_run_in_which_a_mechanism_is_not_called_fails_with_its_name(tmp_path, monkeypatch):
    def forgets(group: Group, net: nn.Module, device: torch.device) -> nn.Module:
        block = net.get_submodule("layer2.0")
        block.bn2 = inside(block.get_submodule("bn2"))
        return net

    monkeypatch.setattr(Group, "wrap", forgets)
    words = ["attn=se", "site=residual", "backbone=resnet8", *WORDS]
    record = running.run(cell([*words, f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]))
    assert record["status"] == "failed"
    assert "NotCalled: not called in the first training step: layer2.0.bn2.attention (SE)" in record["reason"]


def test_the_guard_leaves_no_hook_behind():
    model = network()
    graft(model, "se", {}, AFTER, IMAGE)
    check_called(model, images())
    assert sum(len(m._forward_hooks) for m in model.modules()) == 0
    assert len(mechanisms(model)) == 3


def test_untrained_parameters_need_no_gradient():
    model = backbones.build(backbone("resnet8"), 10, IMAGE)
    (ema,) = graft(model, "ema", {}, backbone("resnet8").sites["late"], IMAGE)
    assert {name for name, p in ema.named_parameters() if not p.requires_grad} == ema.untrained
