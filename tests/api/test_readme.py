"""The README's Python code runs as it is printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.read_text(encoding="utf-8").partition("\n## From Python\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["record"].status == "done" and list(names["frame"]["attn"]) == ["none", "se"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("<se at 8 places, after layer1.0.bn2 ... layer4.1.bn2: 64 to 512 channels, ")
    assert "No advice yet" in printed[-1]
