"""An installed wheel finds its settings and experiments, and the README's example of a mechanism is true."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch

from attnbench import checks

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


def test_the_readmes_mechanism_and_its_reference_agree():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(block, names)
    cls, forward = names["Mine"], names["forward"]
    checks.run(cls)
    for channels, options, count in names["COUNTS"]:
        assert sum(p.numel() for p in cls(channels, **options).parameters()) == count
    module, x = cls(8).double(), torch.randn(2, 8, 5, 4, dtype=torch.float64)
    parameters = {name: value.numpy() for name, value in module.state_dict().items()}
    with torch.no_grad():
        assert np.allclose(module(x).numpy(), forward(x.numpy(), parameters, {}, training=False))


def test_the_readmes_table_is_the_generated_one():
    readme = (ROOT / "README.md").read_text()
    table = (ROOT / "results" / "cls-cifar10-resnet20-short.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines() if " ± " in line]
    rows = [row for row in rows if len(row) == 5]
    assert len(rows) == 3
    for mechanism, *cells in rows:
        lines = [line for line in table.splitlines() if f"| {mechanism} " in line]
        assert all(any(cell in line for line in lines) for cell in cells), mechanism
