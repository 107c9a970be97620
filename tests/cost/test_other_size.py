"""Costs at another size than the data's: the network is built for it where that of the data does not run."""

import pytest

from attnbench import running
from attnbench.config.rules import stem_note
from attnbench.sweeping.experiment import cell

WORDS = ["data=scenes", "recipe=none", "cost.latency=false", "cost.memory=false", "hardware.device=cpu"]


@pytest.mark.parametrize(
    ("words", "macs", "params"),
    [
        (["backbone=vit_tiny_patch16_224", "attn=se", "cost.input=64"], 93_986_688, 5_542_414),
        (["backbone=resnet8", "attn=ge", "attn.extent=0", "cost.input=64"], 48_956_704, 104_977),
        (["backbone=resnet8", "attn=rga", "cost.input=48"], 95_140_608, 781_292),
    ],
)
def test_counts_are_of_the_measured_size_and_parameters_of_the_trained_network(tmp_path, words, macs, params):
    trained = running.build(cell([*WORDS, *(w for w in words if not w.startswith("cost.input"))]))
    record = running.run(cell([*WORDS, *words, f"results={tmp_path}", f"runs={tmp_path / 'runs'}"]))
    assert (record["status"], record["cost"]["unmeasured"]) == ("done", {})
    assert (record["cost"]["macs"], record["cost"]["params"]) == (macs, params)
    assert params == sum(p.numel() for p in trained.parameters())


def test_an_imagenet_stem_on_small_images_is_stated():
    small = cell(["backbone=resnet18", "data=cifar10"]).config
    assert "resnet18 has its ImageNet stem (stride 4) on images of 32x32 px" in stem_note(small)
    for words in (["backbone.stem=cifar"], ["data.size=128"], ["backbone=resnet20"], ["backbone=vgg16_bn"]):
        assert stem_note(cell(["backbone=resnet18", "data=cifar10", *words]).config) is None
