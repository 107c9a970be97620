"""An installed wheel finds its settings and experiments, and the README's example of a mechanism is true."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from attnbench.checks import suite
from tests import committed

ROOT = Path(__file__).parent.parent


def test_a_wheel_carries_conf_and_experiments(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); import attnbench.__main__ as m"
    code += "; print(m.__file__)"
    code += "; sys.exit(m.main(['-m', 'attn=none,se', 'backbone=resnet20', '--dry-run']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert "2 cells: 0 done, 2 to run" in done.stdout
    archived = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-m", "attnbench", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=archived)
    assert done.returncode == 2
    assert done.stderr == (
        f"attnbench: it reads files of its own and cannot run inside {wheel}: install that with pip\n"
    )


def test_the_readmes_mechanism_and_its_reference_agree():
    section = (ROOT / "README.md").read_text().partition("\n## Add a mechanism\n")[2]
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(block, names)
    cls, forward = names["Mine"], names["forward"]
    suite.run(cls)
    for channels, options, count in names["COUNTS"]:
        assert sum(p.numel() for p in cls(channels, **options).parameters()) == count
    module, x = cls(8).double(), torch.randn(2, 8, 5, 4, dtype=torch.float64)
    parameters = {name: value.numpy() for name, value in module.state_dict().items()}
    with torch.no_grad():
        assert np.allclose(module(x).numpy(), forward(x.numpy(), parameters, {}, training=False))


def test_the_readmes_figures_are_those_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"\(results/(\S+)\.md\)\):\n\n((?:\|.*\n)+)", readme)
    assert table
    page = (committed.results() / f"{table[1]}.md").read_text(encoding="utf-8")
    _, _, *rows = table[2].splitlines()
    assert len(rows) > 2
    for row in rows:
        mechanism, *figures = (cell.strip() for cell in row.strip("|").split("|"))
        lines = "".join(line for line in page.splitlines() if re.search(rf"\| {mechanism} +\|", line))
        assert [figure for figure in figures if figure not in lines] == []
