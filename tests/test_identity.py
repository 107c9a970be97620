"""A digest covers what code means: not where it stands, what it is called by, or which Python reads it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from attnbench import identity
from attnbench.identity import PACKAGE, digest

MODULE = '''
"""A module."""
from torch import nn
import torch.nn.functional as F

SCALE = 2.0


def double(x: float, *rest, key=None) -> float:
    """Twice x."""
    if x < 0:
        raise ValueError(f"negative: {x}")
    return x * SCALE


class Layer(nn.Module):
    """A layer."""

    card = dict(title="A paper")

    def forward(self, x):
        double = [F.relu(part) for part in x]
        return {"y": sum(double)}


def unused():
    return Layer()
'''
DOUBLE, LAYER = "d15f3051873c", "4d658999ffc3"  # of double and Layer, whatever Python reads them
PROGRAM = """
import json
from attnbench import mechanisms
from attnbench.identity import PACKAGE, digest
found = {name: digest(e.path, e.cls) for name, e in mechanisms.entries().items()}
found["training"] = digest(PACKAGE / "training" / "loop.py", "Training", "train", "evaluate")
found["cost"] = digest(PACKAGE / "cost" / "profile.py", "profile")
print(json.dumps(found))
"""  # imports nothing that a bare Python lacks


@pytest.fixture
def written(tmp_path):
    def write(text: str, name: str = "module.py") -> Path:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}" / name
        file.parent.mkdir()
        file.write_text(text)
        return file

    return write


def of_package(package: Path, python: str = sys.executable) -> dict:
    """The digests that the code in a copy of the package finds of itself."""
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-P", "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, folder / "attnbench", ignore=shutil.ignore_patterns("__pycache__")))


def rewrite(files, *pairs: tuple[str, str]) -> int:
    changed = 0
    for file in files:
        before = text = file.read_text()
        for old, new in pairs:
            text = text.replace(old, new)
        if text != before:
            file.write_text(text)
            changed += 1
    return changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', "# A module"),
        ('"""Twice x."""', '"""Two times x."""'),
        ("x: float, *rest, key=None) -> float", "x, *rest, key=None)"),
        ('f"negative: {x}"', '"must not be negative"'),
        ("import torch.nn.functional as F", "from torch.nn import functional as F"),
        ('card = dict(title="A paper")', 'card = dict(title="Another paper", goals=3)'),
        ("def unused():", "def renamed():"),
        ("SCALE = 2.0", "SCALE: float = 2.0"),
        ("    return x * SCALE", "\n    return (\n        x\n        * SCALE)  # twice"),
    ],
)
def test_a_digest_ignores_what_changes_no_number(written, old, new):
    assert old in MODULE
    names = ("double", "Layer")
    assert digest(written(MODULE.replace(old, new), "other.py"), *names) == digest(written(MODULE), *names)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("double", "SCALE = 2.0", "SCALE = 3.0"),
        ("double", "key=None", "key=1"),
        ("double", "raise ValueError", "raise KeyError"),
        ("double", "x < 0", "x <= 0"),
        ("Layer", "F.relu", "F.gelu"),
        ("Layer", "nn.Module", "nn.Identity"),
        ("Layer", 'return {"y"', 'return {"z"'),
    ],
)
def test_a_digest_sees_what_can_change_a_number_and_whose(written, name, old, new):
    changed, before = written(MODULE.replace(old, new)), written(MODULE)
    other = {"double": "Layer", "Layer": "double"}[name]
    assert digest(changed, name) != digest(before, name)
    assert digest(changed, other) == digest(before, other)


def test_a_name_that_a_function_binds_is_not_the_modules(written):
    shadowed = "def f(scale):\n    return scale\n\n\nscale = 1\n"
    assert digest(written(shadowed), "f") == digest(written(shadowed.replace("= 1", "= 2")), "f")
    read = "def f():\n    return scale\n\n\nscale = 1\n"
    assert digest(written(read), "f") != digest(written(read.replace("= 1", "= 2")), "f")


def test_registrations_of_an_operator_count_but_for_its_shapes(written):
    text = (
        "@op\ndef double(x):\n    return x\n\n\n@double.register_fake\ndef _(x):\n    return x.new_empty(0)\n"
    )
    text += "\n\ndouble.register_autograd(lambda g: g)\n"
    before = digest(written(text), "double")
    assert digest(written(text.replace("new_empty(0)", "new_empty(1)")), "double") == before
    assert digest(written(text.replace("lambda g: g", "lambda g: 2 * g")), "double") != before


def test_definitions_that_refer_to_each_other_have_a_digest(written):
    text = (
        "def even(n):\n    return n == 0 or odd(n - 1)\n\n\ndef odd(n):\n    return n != 0 and even(n - 1)\n"
    )
    assert digest(written(text), "even") != digest(written(text.replace("n != 0", "n != 2")), "even")


def test_a_name_that_is_not_defined_is_an_error(written):
    with pytest.raises(LookupError, match="does not define Module"):
        digest(written(MODULE), "Module")


def test_moving_and_renaming_shared_modules_changes_no_digest(tmp_path):
    package = copied(tmp_path)
    (package / "mechanisms" / "layers" / "windows.py").rename(
        package / "mechanisms" / "layers" / "patches.py"
    )
    (package / "mechanisms" / "layers" / "norm.py").rename(package / "mechanisms" / "normalization.py")
    pairs = [
        (
            "from attnbench.mechanisms.layers import windows",
            "from attnbench.mechanisms.layers import patches as windows",
        ),
        ("attnbench.mechanisms.layers.windows", "attnbench.mechanisms.layers.patches"),
        ("attnbench.mechanisms.layers.norm", "attnbench.mechanisms.normalization"),
    ]
    assert rewrite(package.rglob("*.py"), *pairs) > 3
    assert of_package(package) == of_package(PACKAGE)


def test_a_constant_of_a_shared_module_changes_its_users_and_only_those(tmp_path):
    package = copied(tmp_path)
    shared = package / "mechanisms" / "layers" / "glimpse.py"
    assert rewrite([shared], ("(points + 1) / 2", "(points + 1) / 3")) == 1
    before, after = of_package(PACKAGE), of_package(package)
    own = {file.stem: file.read_text() for file in (PACKAGE / "mechanisms").rglob("*.py")}
    users = {name for name in before if "layers.glimpse import" in own.get(name, "")}
    assert users
    assert {n for n in before if before[n] != after[n]} == users


def test_a_constant_of_the_training_loop_changes_its_digest_and_no_other(tmp_path):
    package = copied(tmp_path)
    loop = package / "training" / "loop.py"
    loop.write_text(loop.read_text().replace("CHECK_EVERY = 20", "CHECK_EVERY = 21"))
    before, after = of_package(PACKAGE), of_package(package)
    assert {name for name in before if before[name] != after[name]} == {"training"}


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_finds_the_same_digests(version, written):
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
        f"versions/{version}.*/bin/python"
    )
    python = next(map(str, installed), None) or shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"no Python {version} here")
    assert of_package(PACKAGE, python) == of_package(PACKAGE)


def test_digests_are_the_ones_written_down(written):
    assert digest(written(MODULE), "double") == DOUBLE
    assert digest(written(MODULE), "Layer") == LAYER


def test_code_that_was_shown_to_repeat_numbers_keeps_the_digest_of_its_predecessor(tmp_path):
    ledger = tmp_path / "equivalent.toml"
    ledger.write_text('[[same]]\npart = "training"\nas = "old"\ndigests = ["new", "newer"]\n')
    assert identity.ledger(ledger) == {("training", "new"): "old", ("training", "newer"): "old"}
    assert identity.canonical("training", "never seen") == "never seen"
