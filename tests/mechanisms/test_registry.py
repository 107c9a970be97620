"""The folder is the registry: what its files say is found without torch, and found to be so."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from attnbench.errors import UserError
from attnbench.mechanisms import CATEGORIES, HERE, entries, entry, load, read
from attnbench.mechanisms.base import Card, Mechanism

NAMES = tuple(entries())
TASKS = {"Cls", "Det", "ISeg", "SSeg", "Action", "ReID", "Style", "Caption", "Skeleton", "FGCls", "ICap"}

FORM = '''"""{summary}"""

class Scale(Mechanism):
    card = Card(title="t", params=lambda c: c, range=(-1.0, 1.0))

    def __init__(self, channels, size, {options}):
        pass
'''


def write(folder: Path, options: str = "power: int = 2, *, kind: str = 'a'") -> Path:
    path = folder / "scale.py"
    path.write_text(FORM.format(summary="Scale it.\n\nMore.", options=options))
    return path


def test_what_a_file_says_is_read_from_its_source(tmp_path):
    found = read(write(tmp_path))
    assert (found.name, found.category, found.cls) == ("scale", tmp_path.name, "Scale")
    assert found.summary == "Scale it."
    assert found.options == {"power": 2, "kind": "a"}
    assert found.card == {"title": "t", "params": "lambda c: c", "range": (-1.0, 1.0)}


def test_a_default_that_is_no_literal_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"scale\.py: a default of Scale\.__init__ is not a literal"):
        read(write(tmp_path, options="power=2 * WIDTH"))


@pytest.mark.parametrize(
    ("cards", "said"), [("cards = ()", 0), ("card = Card()\n\nclass B:\n    card = Card()", 2)]
)
def test_a_file_has_one_card(tmp_path, cards, said):
    path = tmp_path / "scale.py"
    path.write_text(f"class A:\n    {cards}\n")
    with pytest.raises(UserError, match=f"{said} classes carry a `card"):
        read(path)


def test_every_file_of_the_folder_is_found_once():
    files = [p for c in CATEGORIES[1:] for p in (HERE / c).glob("[!_]*.py")]
    assert {p.stem for p in files} | {"none"} == set(NAMES)
    assert len(files) + 1 == len(NAMES), "two categories have a mechanism of the same name"


def test_near_names_are_offered():
    with pytest.raises(UserError, match="unknown mechanism 'ecca': did you mean eca"):
        entry("ecca")
    with pytest.raises(UserError, match=r"unknown mechanism 'qqq': known: .*none.*se"):
        load("qqq")


def test_asking_what_exists_does_not_import_torch():
    code = "import sys, attnbench.mechanisms as zoo; assert zoo.entries(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parents[1])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_what_is_there(name):
    found, cls = entry(name), load(name)
    assert issubclass(cls, Mechanism)
    assert cls.__module__ == found.module
    for key, value in found.card.items():
        assert key in {f.name for f in fields(Card)}
        if not callable(getattr(cls.card, key)):
            assert getattr(cls.card, key) == value, key


@pytest.mark.parametrize("name", [n for n in NAMES if n != "none"])
def test_a_card_is_filled_in(name):
    card, summary = load(name).card, entry(name).summary
    assert all((card.title, card.venue, card.g, card.goals, card.tasks, card.site, summary))
    assert card.url.startswith("https://")
    assert any(year in card.venue for year in map(str, range(2013, 2027))), "the venue has its year"
    assert summary.endswith(".")
    assert card.range is None or card.range[0] < card.range[1]
