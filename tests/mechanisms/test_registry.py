"""The folder is the registry: what its files say is found without torch, and found to be so."""

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from attnbench.config.files import folder
from attnbench.errors import UserError
from attnbench.mechanisms import CATEGORIES, HERE, entries, entry, load, read
from attnbench.mechanisms.base import Card, Mechanism

NAMES = tuple(entries())
TASKS = {"Cls", "Det", "ISeg", "SSeg", "Action", "ReID", "Style", "Caption", "Skeleton", "FGCls", "ICap"}

ENV = dict(os.environ)
TEXT: dict[str, Any] = {"capture_output": True, "text": True}

FORM = '''"""{summary}"""

class Scale(Mechanism):
    card = Card({card})

    def __init__(self, channels, size, {options}):
        pass
'''


CARD = (
    'title="t", venue="v", url="u", tasks=("Cls",), g="g", range=(-1.0, 1.0), soft=True, '
    'goals=("x",), params=lambda c: c, site="stage"'
)


def write(folder: Path, options: str = "power: int = 2, *, kind: str = 'a'", card: str = CARD) -> Path:
    path = folder / "scale.py"
    path.write_text(FORM.format(summary="Scale it.\n\nMore.", options=options, card=card))
    return path


def test_what_a_file_says_is_read_from_its_source(tmp_path):
    found = read(write(tmp_path))
    assert (found.name, found.category, found.cls) == ("scale", tmp_path.name, "Scale")
    assert found.summary == "Scale it."
    assert found.options == {"power": 2, "kind": "a"}
    assert found.card["params"] == "lambda c: c" and found.card["range"] == (-1.0, 1.0)


def test_a_default_that_is_no_literal_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"scale\.py, line 8: a default of Scale\.__init__ is not a literal"):
        read(write(tmp_path, options="power=2 * WIDTH"))


@pytest.mark.parametrize(
    ("cards", "said"), [("cards = ()", 0), ("card = Card()\n\nclass B:\n    card = Card()", 2)]
)
def test_a_file_has_one_card(tmp_path, cards, said):
    path = tmp_path / "scale.py"
    path.write_text(f"class A:\n    {cards}\n")
    with pytest.raises(UserError, match=f"{said} classes carry a `card"):
        read(path)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (CARD.replace('venue="v", ', ""), r"line 6: the card has no venue"),
        (CARD.replace('site="stage"', "site=STAGE"), "the card's site is not a literal"),
        (CARD.replace("soft=True", "soft=1"), "the card's soft is not a literal"),
    ],
)
def test_a_card_has_every_column(tmp_path, card, said):
    with pytest.raises(UserError, match=said):
        read(write(tmp_path, card=card))


BROKEN = {
    "syntax": "class A(:\n",
    "default": FORM.format(summary="x", card=CARD, options="power: int = 2 * WIDTH"),
    "cards": "class A:\n    card = Card()\n\nclass B:\n    card = Card()\n",
    "bytes": "\xe9",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_one_broken_file_stops_only_what_asks_for_it(tmp_path, fault):
    package = tmp_path / "attnbench"
    shutil.copytree(HERE.parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conf", "experiments"):
        shutil.copytree(folder(name), tmp_path / name)
    (package / "mechanisms" / "channel" / "torn.py").write_text(BROKEN[fault], encoding="latin-1")

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "attnbench", *words]
        return subprocess.run(command, cwd=tmp_path, env=ENV | {"PYTHONPATH": str(tmp_path)}, **TEXT)

    assert ask("--help").returncode == 0
    assert ask("-m", "attn=channel", "--dry-run").returncode == 0
    listed = ask("list", "mechanisms")
    assert listed.returncode == 0 and "torn" in listed.stdout and "torn.py" in listed.stdout
    refused = ask("attn=torn")
    assert refused.returncode == 2 and refused.stderr.startswith("attnbench: attn=torn: ")
    assert "torn.py" in refused.stderr and refused.stderr.count("\n") == 1


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
