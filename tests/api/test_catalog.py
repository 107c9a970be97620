"""Mechanisms by name from Python: listed, described, made; wrong requests are refused in one line."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import attnbench
from attnbench import UserError, mechanisms


def test_the_package_is_imported_without_torch_and_in_a_tenth_of_a_second() -> None:
    code = (
        "import sys, time; before = time.process_time(); import attnbench; "
        "took = time.process_time() - before; heavy = {'torch', 'pandas', 'numpy', 'hydra'}; "
        "sys.exit(took > 0.1 or bool(heavy.intersection(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_mechanisms_are_listed_and_described_without_torch() -> None:
    code = (
        "import sys, attnbench; attnbench.list_mechanisms('channel', tag='2018'); attnbench.card('se'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_name_of_the_api_is_there() -> None:
    assert set(attnbench.__all__) <= set(dir(attnbench))
    assert all(getattr(attnbench, name) is not None for name in attnbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = attnbench.nothing


def test_a_list_goes_by_category_and_tag() -> None:
    assert set(attnbench.list_mechanisms()) == set(mechanisms.entries()) - {"none"}
    assert "se" in attnbench.list_mechanisms("channel") and "cbam" not in attnbench.list_mechanisms("channel")
    assert attnbench.list_mechanisms(category="spatial", tag="hard")
    assert attnbench.list_mechanisms("control") == list(mechanisms.controls())
    with pytest.raises(UserError, match="unknown category 'chanel': did you mean channel"):
        attnbench.list_mechanisms("chanel")
    with pytest.raises(UserError, match="unknown tag 'sofft': did you mean soft"):
        attnbench.list_mechanisms(tag="sofft")


def test_a_card_says_what_the_paper_does() -> None:
    card = attnbench.card("se")
    assert (card.venue, card.category, card.sites) == ("CVPR 2018", "channel", ("residual",))
    assert card.options == {"reduction": 16, "bias": True} and "whole number" in card.accepts["reduction"]
    assert repr(card) == "<se: Squeeze-and-Excitation Networks, CVPR 2018; channel, site residual>"
    with pytest.raises(UserError, match="unknown mechanism 'sse': did you mean"):
        attnbench.card("sse")


MORE = {"size": (8, 5), "frames": 8, "classes": 10}


@pytest.mark.parametrize("name", list(mechanisms.known()))
def test_every_mechanism_is_made_by_name(name: str) -> None:
    try:
        made = attnbench.create(name, 48)
    except UserError as error:
        asked = {key: value for key, value in MORE.items() if f"{key}=" in str(error)}
        assert asked, error
        needed = {k: v for k, v in MORE.items() if k not in mechanisms.entry(name).arguments}
        made = attnbench.create(name, 48, **needed)
    assert isinstance(made, nn.Module)


def test_a_module_is_a_plain_one_and_its_options_are_checked() -> None:
    se = attnbench.create("se", 64, reduction=8)
    assert se(torch.randn(2, 64, 7, 7)).shape == (2, 64, 7, 7)
    assert sum(p.numel() for p in se.parameters()) == 2 * 64 * 8 + 8 + 64
    conv = attnbench.create("sk", 32)
    assert conv(torch.randn(2, 32, 7, 5)).shape == (2, 32, 7, 5)
    with pytest.raises(UserError, match="unknown option of se 'reductio': did you mean reduction"):
        attnbench.create("se", 64, reductio=8)
    with pytest.raises(UserError, match=r"se\.reduction=0: must be 1 or more"):
        attnbench.create("se", 64, reduction=0)
    with pytest.raises(UserError, match="channels=0 of se: must be a whole number, 1 or more"):
        attnbench.create("se", 0)
    with pytest.raises(UserError, match=r"ge is built for size=\(height, width\) of the map"):
        attnbench.create("ge", 64)
