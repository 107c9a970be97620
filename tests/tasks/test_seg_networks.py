"""Segmentation networks: encoders, decoders, heads of the papers, skip connections, their costs."""

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attnbench import cost, tasks
from attnbench.cell import Cell
from attnbench.config.schema import Site
from attnbench.errors import Impossible, UserError
from attnbench.grafting.attached import inside
from attnbench.grafting.calls import check_called
from attnbench.grafting.graft import graft, mechanisms
from attnbench.mechanisms import entries, load
from attnbench.mechanisms.base import Place
from attnbench.running import build, run
from attnbench.sweeping.experiment import cell
from attnbench.tasks import segmentation
from attnbench.tasks.segmentation.decoders import AtrousPooling, Head, PyramidPooling, plain
from tests.networks import backbone, liven

SIZE = (26, 35)
CLASSES = 11  # of scenes: the digits and what lies behind them
LABELS = torch.randint(0, CLASSES, (2, *SIZE), generator=torch.Generator().manual_seed(1))
LABELS[:, :3] = 255
HEADS = {  # parameters from 2048 channels to 19 classes, and their sources
    "ccnet": 23_934_100,  # speedinghzl/CCNet, RCCAModule
    "danet": 23_954_619,  # junfu1115/DANet, DANetHead
    "ema": 11_149_075,  # XiaLiPKU/EMANet: fc0, emau, fc1, fc2
    "ham": 11_411_219,  # Gsunshine/Enjoy-Hamburger, HamNet with V2
    "ea": 11_214_611,  # EMANet's with external attention (591,360) for the EMA unit (525,824)
    "afnb": 20_340_499,  # MendelXu/ANN: fusion, context, cls
    "psa": 27_176_467,  # hszhao/semseg, PSANet on maps of 59x59
    "ocr": 10_635_027,  # openseg-group/openseg.pytorch: conv_3x3, spatial_ocr_head, head
    "dnl": 24_131_093,  # yinmh17/DNL-Semantic-Segmentation
    "mpm": 15_623_699,  # houqb/SPNet, SPHead
    # mmsegmentation's FCN head of two convolutions on the joined maps (23,605,779) and the block
    "non_local": 23_605_779 + 526_592,
    "gc": 23_605_779 + 33_889,
}


def images(count: int = 2, size: Sequence[int] = SIZE, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@cache
def seg(*words: str, task: str = "seg") -> Cell:
    """A cell on small images."""
    return cell([f"task={task}", "backbone=resnet8", f"data.size={SIZE[0]}", f"data.width={SIZE[1]}", *words])


def with_attention(name: str, site: str, task: str) -> Cell:
    """The same without the command line's way, which takes longer than the networks do."""
    attn = {"name": name, **entries()[name].options}
    return Cell(replace(seg(task=task).config, attn=attn, site=site))


def network(*words: str, task: str = "seg") -> nn.Module:
    return build(seg(*words, task=task))


def place(channels: int = 2048, size: tuple[int, int] = (60, 60)) -> Place:
    levels = (64, channels // 8, channels // 4, channels // 2, channels)
    return Place("head", channels, size, width=channels // 4, levels=levels, classes=19)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Encoders and decoders


@pytest.mark.parametrize("decoder", ["fcn", "psp", "aspp", "unet"])
@pytest.mark.parametrize("encoder", ["resnet8", "resnet18", "mobilenetv2_100", "unet_small"])
def test_every_decoder_on_every_kind_of_encoder_keeps_odd_sizes(encoder: str, decoder: str) -> None:
    options = {"decoder": decoder, "output_stride": 16 if encoder == "unet_small" else 8}
    model = segmentation.build(backbone(encoder), 5, (3, 33, 49), options)
    outputs = model.train()(images(2, (33, 49)))
    assert outputs.logits.shape == outputs.auxiliary.shape == (2, 5, 33, 49)
    assert model.eval()(images(1, (26, 35))).shape == (1, 5, 26, 35)
    (outputs.logits.square().mean() + outputs.auxiliary.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("stride", "last"), [(8, (9, 13)), (16, (5, 7)), (32, (3, 4))])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "convnext_tiny"])
def test_later_stages_dilate_instead_of_striding(name: str, stride: int, last: tuple[int, int]) -> None:
    if name == "convnext_tiny":  # its stem's patches do not reach over the border
        last = tuple(side // stride for side in (64, 96))
    with torch.device("meta"):
        model = segmentation.build(backbone(name), 5, (3, 65, 97), {"output_stride": stride})
        levels = model.encoder.forward_intermediates(torch.zeros(1, 3, 65, 97), intermediates_only=True)
    assert levels[-1].shape[2:] == last
    assert [level.shape[1] for level in levels] == [i["num_chs"] for i in model.encoder.feature_info]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("vgg16_bn", {}, "vgg16_bn cannot be dilated to task.options.output_stride=8"),
        ("unet_small", {}, "unet_small cannot be dilated"),
        ("vit_tiny_patch16_224", {"output_stride": 16}, "cannot be dilated"),
    ],
)
def test_encoders_that_cannot_be_dilated_are_impossible(name: str, options: dict, said: str) -> None:
    with pytest.raises(Impossible, match=said):
        segmentation.build(backbone(name), 5, (3, 224, 224), options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pretrained": True}, "no weights of timm's resnet18 at hand"),
        ({"args": {"dept": 18}}, "refuses .*'dept'"),
    ],
)
def test_other_refusals_are_not_taken_for_the_strides(
    changes: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=said):
        segmentation.build(backbone("resnet18", **changes), 5, (3, 64, 64), {"output_stride": 8})


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("decoder=fcm", "unknown decoder .*: did you mean fcn"),
        ("output_stride=4", "output_stride=4: 8, 16 or 32"),
        ("width=-1", "width=-1: must be 0 or more"),
        ("dropout=1.0", "dropout=1.0: at least 0 and below 1"),
        ("decoders=fcn", "unknown option of task seg .*: did you mean decoder"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        tasks.load(seg(f"++task.options.{word}").config)


def test_the_auxiliary_head_runs_in_training_alone_and_can_be_left_out() -> None:
    model = network()
    ran: list[int] = []
    model.auxiliary.register_forward_hook(lambda *_: ran.append(1))
    model.eval()(images())
    assert not ran
    model.train()(images())
    assert ran == [1]
    bare = network("++task.options.auxiliary=0")
    assert bare.auxiliary is None and bare.train()(images()).auxiliary is None


def test_the_loss_weighs_the_auxiliary_heads_loss() -> None:
    task = tasks.load(seg().config)
    logits, auxiliary = torch.randn(2, 2, CLASSES, *SIZE)[:, :, :]
    one = float(task.loss(segmentation.Outputs(logits, None), LABELS))
    other = float(task.loss(segmentation.Outputs(auxiliary, None), LABELS))
    both = float(task.loss(segmentation.Outputs(logits, auxiliary), LABELS))
    assert both == pytest.approx(one + 0.4 * other, rel=1e-6)


def test_aspp_is_torchvisions() -> None:
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    torch.manual_seed(0)
    ours = Head(AtrousPooling(32, 256, (12, 24, 36)), 256, 19, 0.1).eval()
    theirs = DeepLabHead(32, 19).eval()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    for p, q in zip(ours.parameters(), theirs.parameters()):
        q.data.copy_(p)
    x = torch.randn(1, 32, 9, 13)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_psp_has_as_many_parameters_as_the_authors() -> None:
    """hszhao/semseg: PPM of 512 channels a bin, and the 3x3 and 1x1 convolutions of its classifier."""
    with torch.device("meta"):
        head = Head(PyramidPooling(2048, 512), 512, 19, 0.1)
    assert count(head) == 4 * (2048 * 512 + 2 * 512) + 9 * 4096 * 512 + 2 * 512 + 19 * 513


@pytest.mark.parametrize("decoder", ["psp", "aspp"])
def test_pooled_norms_refuse_to_train_on_one_image(decoder: str) -> None:
    model = network(f"++task.options.decoder={decoder}").train()
    with pytest.raises(UserError, match="at least 2 images a batch"):
        model(images(1))


# Heads of the papers


@pytest.mark.parametrize("name", HEADS)
def test_a_papers_head_has_the_official_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        head = load(name).head(place(size=(59, 59)), **entries()[name].options)
    assert count(head) == HEADS[name]


def test_spnet_is_one_cell() -> None:
    """houqb/SPNet of depth 50 with both its modules, auxiliary head and 150 classes, and its control."""
    classes = ("data.classes=150", "data.size=64", "data.width=64")
    with torch.device("meta"):
        whole, control = (network("backbone=spnet50", f"attn={attn}", *classes) for attn in ("mpm", "none"))
    assert count(whole) == 47_838_124
    assert [[type(m).__name__ for m in mechanisms(each.head)] for each in (whole, control)] == [
        ["MPM"] * 2,
        [],
    ]
    for each in (whole, control):
        assert {type(m).__name__ for m in mechanisms(each.encoder)} == {"SPM"}


def test_light_hams_head_has_the_official_number_of_parameters() -> None:
    """LightHamHead of Gsunshine/Enjoy-Hamburger on 128, 320 and 512 channels, 512 wide, 150 classes."""
    small = Place("head", 512, (16, 16), width=512, levels=(64, 128, 320, 512), classes=150)
    with torch.device("meta"):
        head = load("ham").head(small, variant="light")
    enter, leave = 960 * 512 + 2 * 512, 512 * 512 + 2 * 512
    assert count(head) == enter + (512 * 512 + 512 + 512 * 512 + 2 * 512) + leave + 150 * 513


def test_the_plain_head_with_attention_in_it() -> None:
    """EncNet's: 3x3 convolution, encoding (542,304 parameters) with SE-loss, 1x1 convolution."""
    with torch.device("meta"):
        head = plain((1024, 2048), 19, 0, 0.1, 8)
        enc = load("enc").at(Place("head.body", 512, (60, 60), classes=19))
    assert count(head) == 9 * 2048 * 512 + 2 * 512 + 19 * 513
    assert count(enc) == 542_304 + 19 * 513


@pytest.mark.parametrize(("task", "site"), [("seg", "head"), ("seg_unet", "every_skip")])
@pytest.mark.parametrize("name", entries())
def test_every_mechanism_runs_there_or_says_why_not(name: str, task: str, site: str) -> None:
    here = with_attention(name, site, task)
    try:
        model = build(here)
    except Impossible as reason:
        pytest.skip(f"{name}: {reason}")
    found = mechanisms(model)
    assert bool(found) == (name != "none")
    liven(model).train()
    loss = tasks.load(here.config).loss(model(images()), LABELS)
    for term in (mechanism.loss(LABELS) for mechanism in found):
        loss = loss if term is None else loss + term
    loss.backward()
    untrained = {f"{n}.{p}" for n, m in model.named_modules() for p in getattr(m, "untrained", ())}
    for parameter, value in model.named_parameters():
        if parameter not in untrained:
            assert value.grad is not None and value.grad.isfinite().all(), parameter
    assert model.encoder.conv1.weight.grad.abs().max() > 0
    logits = model.eval()(images())
    assert logits.shape == (2, CLASSES, *SIZE) and logits.isfinite().all()


def test_no_attention_is_the_plain_network_bit_by_bit() -> None:
    torch.manual_seed(0)
    plain_network = tasks.load(seg().config).network()
    grafted = network("attn=none", "site=head")
    assert torch.equal(plain_network.eval()(images()), grafted.eval()(images()))
    assert list(plain_network.state_dict()) == list(grafted.state_dict())


def test_a_shape_keeping_mechanism_leaves_the_plain_heads_weights() -> None:
    control, grafted = network().eval(), network("attn=stn", "site=head").eval()
    own = control.state_dict()
    theirs = grafted.state_dict()
    assert all(torch.equal(theirs[name], own[name]) for name in own)
    assert torch.equal(control(images()), grafted(images()))  # STN starts as the identity


def test_a_papers_head_leaves_the_encoders_weights() -> None:
    control, grafted = network().state_dict(), network("attn=danet").state_dict()
    kept = [name for name in control if name.startswith(("encoder.", "auxiliary."))]
    assert kept and all(torch.equal(control[name], grafted[name]) for name in kept)


def test_another_decoder_keeps_its_form() -> None:
    model = network("attn=danet", "site=head", "++task.options.decoder=psp")
    assert isinstance(model.head, Head) and isinstance(inside(model.head.body), PyramidPooling)
    assert [type(m).__name__ for m in mechanisms(model.head.body)] == ["DANet"]


@pytest.mark.parametrize(
    ("words", "site"),
    [
        (["task=seg", "attn=danet"], "head"),
        (["task=cls", "attn=danet"], "stage"),
        (["task=seg", "attn=se"], "residual"),
        (["task=seg_unet", "attn=attention_gate"], "skip"),
        (["task=seg", "attn=attention_gate"], "stage"),
    ],
)
def test_the_papers_site_is_the_first_that_the_network_has(words: list[str], site: str) -> None:
    assert cell(words).site == site


def test_the_backbones_sites_are_found_in_the_encoder() -> None:
    assert len(mechanisms(network("attn=se", "site=residual").encoder)) == 3
    assert len(mechanisms(network("attn=se", "site=residual"))) == 3


@pytest.mark.parametrize(
    ("name", "attn", "site", "absent"),
    [("mobilenetv2_100", "gct", "every_conv", "conv_head"), ("resnet18", "gsop", "net2", "fc")],
)
@pytest.mark.parametrize("task", ["seg", "seg_unet"])
def test_what_the_encoder_has_lost_with_its_classifier_takes_no_attention(
    name: str, attn: str, site: str, absent: str, task: str
) -> None:
    here = seg(f"backbone={name}", f"attn={attn}", f"site={site}", "recipe=none", task=task)
    said = f"encoder.{absent}: this task's network ends before it"
    with torch.device("meta"), pytest.raises(Impossible, match=said):
        build(here)


def test_a_sweep_skips_it_and_says_why(tmp_path: Path) -> None:
    folders = [f"results={tmp_path / 'results'}", f"runs={tmp_path / 'runs'}"]
    words = ["backbone=mobilenetv2_100", "attn=gct", "site=every_conv", *folders]
    record = run(seg(*words, "recipe=none"))
    assert record["status"] == "skipped"
    assert "conv_head: this task's network ends before it" in record["reason"]


# Losses of mechanisms


def term(model: nn.Module, name: str) -> list[Tensor | None]:
    model.train()(images())
    return [m.loss(LABELS) for m in mechanisms(model) if type(m).__name__ == name]


def test_encnets_loss_is_of_the_classes_that_the_masks_hold() -> None:
    model = network("attn=enc")
    (loss,) = term(model, "Enc")
    (enc,) = mechanisms(model)
    held = torch.tensor([[float((LABELS[i] == k).any()) for k in range(CLASSES)] for i in range(2)])
    expected = nn.functional.binary_cross_entropy_with_logits(enc.logits, held)
    assert loss.item() == pytest.approx(0.2 * expected.item(), rel=1e-6)


def test_danets_branches_have_losses_of_their_own() -> None:
    model = network("attn=danet")
    losses = term(model, "DANet")
    assert len(losses) == 2
    for loss, mechanism in zip(losses, mechanisms(model)):
        logits = nn.functional.interpolate(mechanism.logits, SIZE, mode="bilinear", align_corners=True)
        expected = nn.functional.cross_entropy(logits, LABELS, ignore_index=255)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    model.eval()(images())
    assert [m.loss(LABELS) for m in mechanisms(model)] == [None, None]


def test_ocrs_regions_are_the_auxiliary_heads() -> None:
    model = network("attn=ocr").eval()
    before = model(images())
    with torch.no_grad():
        model.auxiliary.classifier.weight.mul_(-3)
    assert not torch.allclose(model(images()), before)
    assert term(model, "OCR") == [None]  # the auxiliary head has its loss already
    with pytest.raises(UserError, match="auxiliary must be above 0"):
        network("attn=ocr", "++task.options.auxiliary=0")(images())


def test_afnb_reads_the_stage_before_the_last() -> None:
    head = load("afnb").head(Place("head", 8, (5, 7), width=8, levels=(2, 4, 8), classes=3)).eval()
    nn.init.normal_(head.fusion.context.weight)
    x, low = torch.randn(1, 8, 5, 7), torch.randn(1, 4, 10, 14)
    assert not torch.allclose(head(x, (low, x)), head(x, (2 * low, x)))
    with pytest.raises(Impossible, match="the encoder has one"):
        load("afnb").head(Place("head", 8, (5, 7), width=8, levels=(8,), classes=3))


@pytest.mark.parametrize(
    "words", [["attn=danet"], ["attn=afnb"], ["attn=ocr"], ["attn=ham", "attn.variant=light"]]
)
def test_networks_with_a_papers_head_are_copied_and_pickled(words: list[str]) -> None:
    model = network(*words).train()
    model(images())
    expected = model.eval()(images())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images()), expected)
    other = network(*words, "seed=1").eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images()), expected)


# Skip connections


def test_skips_take_gates_with_the_decoders_map_for_their_signal() -> None:
    model = network("attn=attention_gate", task="seg_unet").eval()
    assert [m.signal for m in mechanisms(model)] == [64]  # of two connections the finest has none
    gate = model.head.body.up[1].skip
    x, signal = torch.randn(1, 32, 8, 8), torch.randn(1, 64, 4, 4)
    assert not torch.allclose(gate(x, signal), gate(x, -signal))
    assert torch.equal(gate(x, signal), gate.attention(x, signal))


def test_other_mechanisms_on_skips_see_the_map_alone() -> None:
    model = network("attn=scse", "site=every_skip", task="seg_unet").eval()
    gate = model.head.body.up[0].skip
    x = torch.randn(1, 16, 8, 8)
    assert torch.equal(gate(x, torch.randn(1, 32, 4, 4)), gate(x, torch.randn(1, 32, 4, 4)))
    assert len(mechanisms(model)) == 2


# Costs


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ([], "seg"),
        *[([f"attn={name}"], "seg") for name in ("ccnet", "ocr", "afnb", "mpm", "ema", "psa", "enc")],
        (["attn=ham", "attn.variant=light"], "seg"),
        (["++task.options.decoder=psp"], "seg"),
        (["++task.options.decoder=aspp"], "seg"),
        (["attn=attention_gate"], "seg_unet"),
        (["backbone=spnet50", "attn=mpm"], "seg"),
    ],
    ids=str,
)
def test_both_counters_agree_on_network_and_head(words: list[str], task: str) -> None:
    here = seg(*words, "recipe=none", task=task)
    model = build(here)
    quick = cost.count(model, (3, *SIZE))
    assert quick["uncounted"] == [] and quick == cost.count(model, (3, *SIZE), "fvcore")
    assert 0 < quick["macs_head"] < quick["macs"]


def test_the_heads_share_of_parameters_and_multiply_adds() -> None:
    """On ResNet-8: a 3x3 convolution of 64 channels and a 1x1 to the classes, on a quarter of 24x32 px."""
    model = network("recipe=none")
    head = 9 * 64 * 64 + 2 * 64 + CLASSES * 65
    figures = cost.parameters(model)
    assert figures["params_head"] == head
    assert figures["params"] == count(model.encoder) + head + figures["params_auxiliary"]
    counted = cost.count(model, (3, 24, 32))
    assert counted["macs_head"] == 6 * 8 * (9 * 64 * 64 + 64 * CLASSES)
    assert counted["macs_auxiliary"] == 0


def test_a_head_that_is_not_described_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
    site = Site(after=["0"], head=["1"])
    (new,) = graft(model, "danet", {}, site, (3, 8, 8))
    assert model[0].attention is new and isinstance(model[1], nn.Conv2d)


@pytest.mark.parametrize("name", [name for name in entries() if name in HEADS])
def test_a_papers_head_calls_its_mechanism(name: str) -> None:
    """What no forward pass reaches ends a cell as failed, so a head must not go round the mechanism's own."""
    check_called(network(f"attn={name}", "site=head"), torch.randn(2, 3, *SIZE))
