"""Options of mechanisms and tasks, and settings that contradict each other, are refused without torch."""

import pytest

from attnbench import mechanisms, tasks
from attnbench.config import compose as files
from attnbench.config import load as compose
from attnbench.config.files import names
from attnbench.config.options import check
from attnbench.errors import UserError
from attnbench.mechanisms.signature import of_default

SEG = [  # options of segmentation, and what is said of them
    ("flip=maybe", "flip=maybe: must be true or false"),
    ("flip=1", "true or false"),
    ("ohem=x", "true or false"),
    ("boundary_f1=7", "true or false"),
    ("width=x", "a whole number, such as 0"),
    ("width=64.5", "a whole number"),
    ("width=-1", "width=-1: must be 0 or more"),
    ("width=null", "a whole number"),
    ("dropout=x", "a number, such as 0.1"),
    ("dropout=true", "a number, such as 0.1"),
    ("dropout=1.0", "at least 0 and below 1"),
    ("dropout=nan", "must be finite"),
    ("auxiliary=-0.1", "0 or more"),
    ("output_stride=12", "output_stride=12: 8, 16 or 32"),
    ("decoder=fcm", "did you mean fcn"),
    ("scales=[a]", "a list, each a number"),
    ("scales=1.0", "a list, each a number"),
    ("scales=[]", "a list of numbers above 0"),
    ("scales=[1.0,-1.0]", "a list of numbers above 0"),
    ("crop=true", "one number of px"),
    ("crop=large", "one number of px"),
    ("crop=0", "one number of px"),
    ("crop=[8,8,8]", "height, width"),
    ("stride=8", "without task.options.crop"),
    ("ohem_threshold=0.0", "above 0, at most 1"),
    ("ohem_kept=0", "ohem_kept=0: must be 1 or more"),
    ("class_weights=[1.0]", "5 numbers"),
    ("class_weights=[0,0,0,0,0]", "not all 0"),
    ("class_weights=[1,1,1,1,-1]", "none below 0"),
    ("class_weights=[1,1,1,1,x]", "5 numbers"),
    ("class_weights=5", "5 numbers"),
]


@pytest.mark.parametrize(("word", "said"), SEG)
def test_options_of_segmentation_that_cannot_be_meant(word, said):
    with pytest.raises(UserError, match=said):
        compose.configure(["task=seg", "data.classes=5", f"task.options.{word}"])


def test_windows_must_leave_no_pixel_out():
    with pytest.raises(UserError, match="left out"):
        compose.configure(["task=seg", "task.options.crop=8", "task.options.stride=9"])


@pytest.mark.parametrize(
    "words",
    [
        ["crop=[8,12]", "stride=6", "scales=[0.5,1]", "flip=true"],
        ["class_weights=[0,1,2.5,1,1]", "ohem=true", "dropout=0", "auxiliary=1", "width=64"],
        ["decoder=aspp", "output_stride=16", "crop=33"],
    ],
)
def test_options_of_segmentation_that_can_be_meant(words):
    compose.configure(["task=seg", "data.classes=5", *(f"task.options.{word}" for word in words)])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=cls", "++task.options.flip=true"], "unknown option of task cls"),
        (["task=seg", "++task.options.flop=true"], "did you mean flip"),
        (["task=clip", "task.options.head=meen"], "did you mean mean"),
        (["task=clip", "task.options.head=3"], "must be text"),
        (["task.name=clss"], "did you mean cls"),
        (["attn=se", "attn.reduction=0"], "attn.reduction=0: must be 1 or more"),
        (["attn=se", "attn.reduction=-4"], "attn.reduction=-4: must be 1 or more"),
        (["attn=se", "attn.reduction=null"], "must be a whole number"),
        (["attn=gltr", "attn.dilations=[1,0]"], "must be 1 or more"),
        (["attn=gltr", "attn.dilations=[1,x]"], "must be a list, each a whole number"),
        (["attn=ge", "attn.extent=-1"], "must be 0 or more"),
        (["hardware.device=gpu"], "hardware.device='gpu': must be auto, cpu, cuda, cuda:1 or mps"),
        (["hardware.device=cuda:x"], "must be auto, cpu"),
        (["hardware.checkpoint_s=-3"], "checkpoint_s=-3.0: must be 0 or more"),
        (["task=seg", "recipe.augment.crop_size=[16,16]"], "is for crop=scaled"),
        (["recipe.schedule.warmup_epochs=2"], "must be below recipe.epochs=2"),
    ],
)
def test_settings_that_cannot_be_meant(words, said):
    with pytest.raises(UserError, match=said):
        compose.configure(words)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices_that_may_be_there(device):
    assert compose.configure([f"hardware.device={device}"]).hardware.device == device


def test_a_recipe_without_training_may_say_nothing_of_epochs():
    compose.configure(["task=profile", "recipe=none", "recipe.schedule.warmup_epochs=5"])


def test_defaults_stand_where_defaults_stand():
    for entry in mechanisms.entries().values():
        check(entry.options, entry.arguments, "attn", entry.name)
    for name in names("task"):
        known = files.read("task", name).get("options", {})
        assert all(of_default(key, value).refusal(value) is None for key, value in known.items())


def test_the_words_are_those_that_the_networks_know():
    from attnbench.tasks._clips import HEADS
    from attnbench.tasks.segmentation.network import DECODERS

    cards = tasks.cards()
    assert set(cards["seg"].choices["decoder"]) == set(DECODERS)
    assert set(cards["clip"].choices["head"]) == set(cards["retrieval"].choices["head"]) == set(HEADS)
