"""What a report writes: which files, the same each time, and what it does with those of others."""

import copy
import csv
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from attnbench import report
from attnbench.cli.main import main
from attnbench.errors import UserError
from attnbench.report import files
from attnbench.report.load import load
from attnbench.report.pages import survey
from attnbench.report.tables.table import Table
from tests.factories import grid, page, put, record

STEM = "cls-cifar10-resnet20-short"


@pytest.mark.pictures
def test_files_of_a_report(tmp_path: Path) -> None:
    written = report.write(put(tmp_path, *grid(), record("se", 0, None)))
    accuracy = {f"{STEM}{ending}" for ending in (".md", ".csv", ".tex")}
    costs = {f"cls-costs-resnet50-224{ending}" for ending in (".md", ".csv", ".tex")}
    surveys = {f"survey-{c}{ending}" for c in survey.NAMES for ending in (".md", ".csv", ".tex")}
    drawn = {f"{STEM}{end}.{kind}" for end in ("", "-differences") for kind in ("svg", "png", "pdf")}
    one = {"accuracy-cost.csv", "papers.csv", "index.html", "README.md"}
    assert {p.name for p in written} == accuracy | costs | drawn | one
    assert sorted(p.name for p in tmp_path.iterdir() if p.name not in ("cells", ".index.sqlite")) == sorted(
        p.name for p in written
    )
    report.write(tmp_path, report.Choice(survey=True, pictures=False))
    again = {p.name for p in report.write(tmp_path, report.Choice(pictures=False))}
    assert again == accuracy | costs | surveys | one  # a folder that has the survey's tables keeps them


def test_index_links_every_leaderboard(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(), record("se", 0, None)))
    text = page(tmp_path, "README")
    assert f"[table]({STEM}.md), [CSV]({STEM}.csv)" in text
    assert "Which attention raises the test top-1 of resnet20 on cifar10, and at what cost?" in text
    assert "What does each attention cost in resnet50 at 224 px?" in text


def test_a_report_is_the_same_bytes_again_in_any_order(tmp_path: Path) -> None:
    made = [*grid(seeds=3), record("se", 1, 70.0, digest="z"), record("gc", 0, None)]
    first = {p.name: p.read_bytes() for p in report.write(put(tmp_path / "a", *made))}
    again = {p.name: p.read_bytes() for p in report.write(tmp_path / "a")}
    turned = {p.name: p.read_bytes() for p in report.write(put(tmp_path / "b", *reversed(made)))}
    assert first == again == turned


def test_a_report_of_nothing_new_reads_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = report.write(put(tmp_path, *grid()))
    stamps = {path: path.stat().st_mtime_ns for path in first}
    read: list[Path] = []
    module = import_module("attnbench.report.writing")
    monkeypatch.setattr(module, "load", lambda results: read.append(results) or load(results))
    assert report.write(tmp_path) == first and not read
    assert stamps == {path: path.stat().st_mtime_ns for path in first}
    first[0].write_text("changed by hand <!-- -->")
    (tmp_path / "mine.md").write_text("# Mine")
    first[0].unlink()
    report.write(tmp_path)
    assert read and first[0].exists() and "mine.md" in page(tmp_path, "README")
    put(tmp_path, record("gc", 0, 60.0))
    read.clear()
    report.write(tmp_path)
    changed = {path.name for path in first if path.stat().st_mtime_ns != stamps[path]}
    assert read and f"{STEM}.md" in changed


def test_csv_is_one_header_and_a_line_a_row(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(), record("gc", 0, 9.0, status="failed", reason='a, "b"\nc')))
    with (tmp_path / f"{STEM}.csv").open(newline="") as file:
        header, *lines = list(csv.reader(file))
    assert [cells[header.index("attn")] for cells in lines] == ["none", "eca", "se", "gc"]
    assert {len(cells) for cells in lines} == {len(header)}
    assert len(set(header)) == len(header)
    assert 'a, "b"' in lines[-1][header.index("notes")]


def test_markdown_lines_up(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(), record("se(mode=a|b)", 0, 60.0)))
    text = page(tmp_path)
    for part in text.split("## ")[1:3]:
        widths = {len(cells) for cells in part.splitlines() if cells.startswith("|")}
        assert len(widths) == 1
    assert "se(mode=a\\|b)" in text


def test_tables_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    longer = [record("none", 0, 70.0, table="fedcba", config__recipe__epochs=9)]
    report.write(put(tmp_path, *grid(), *longer))
    assert page(tmp_path, f"{STEM}-epochs3").count("# cls · cifar10 · resnet20 · short · epochs=3") == 1
    assert page(tmp_path, f"{STEM}-epochs9").count("# cls · cifar10 · resnet20 · short · epochs=9") == 1
    index = page(tmp_path, "README")
    assert "recipe.epochs=3" in index
    assert "recipe.epochs=9" in index
    assert "batch_size" not in index


def test_stale_leaderboards_go_and_foreign_files_stay(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(), record("none", 0, 70.0, table="fedcba")))
    (tmp_path / "cells" / "fedcba-none--0-digest of none.json").unlink()
    (tmp_path / "mine.md").write_text("my own page")
    (tmp_path / "mine.csv").write_text("my own numbers")
    report.write(tmp_path)
    assert sorted(p.suffix for p in tmp_path.glob("cls*")) == [".csv", ".md", ".tex"]
    assert {p.stem for p in tmp_path.glob("cls*")} == {STEM}
    assert (tmp_path / "mine.md").read_text() == "my own page"
    assert (tmp_path / "mine.csv").exists()


def test_pages_of_other_commands_are_linked_and_the_links_hold(tmp_path: Path) -> None:
    for name in ("published.md", "mechanism-speed.md"):
        put(tmp_path, *grid())
        (tmp_path / name).write_text("# Of another command")
    report.write(tmp_path)
    text = page(tmp_path, "README")
    assert "[published.md](published.md): published costs" in text
    assert "Made by other commands: [mechanism-speed.md](mechanism-speed.md)" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (tmp_path / link).exists(), link


def test_a_page_that_no_report_made_is_not_replaced(tmp_path: Path) -> None:
    put(tmp_path, *grid())
    (tmp_path / "README.md").write_text("# My project")
    with pytest.raises(UserError, match=r"README\.md was not made by a report"):
        report.write(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project"


FOREIGN = {
    "half": '{"schema": 1, "key": "ha',
    "list": "[1, 2]",
    "deep": 100_000 * "[",
    "binary": b"\x80\x81".decode("latin-1"),
    "newer": json.dumps(record() | {"key": "newer", "schema": 99}),
    "status": json.dumps(record() | {"key": "status", "status": "perfect"}),
    "cell": json.dumps(record() | {"key": "cell", "cell": "se"}),
    "seed": json.dumps(record(cell__seed="one") | {"key": "seed"}),
    "name": json.dumps(record(cell__backbone=["resnet20"]) | {"key": "name"}),
    "part": json.dumps(record() | {"key": "part", "cost": [1]}),
    "table": json.dumps(record() | {"key": "table", "table": None}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_no_record_is_named_and_the_rest_reported(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, *grid())
    (tmp_path / "cells" / f"{name}.json").write_text(FOREIGN[name], encoding="latin-1")
    report.write(tmp_path)
    assert f"{name}.json" in caplog.text
    assert f"- `cells/{name}.json`: " in page(tmp_path, "README")
    assert "+" in page(tmp_path)


def test_a_record_with_parts_of_other_kinds_stops_no_table(tmp_path: Path) -> None:
    """Every part and value of a record in turn is a number, text, a list, a mapping or null."""
    base = record("se", 0, 60.0, cell__data="other") | {"schema": 1}
    others = itertools.cycle((3, "x", [1], {"a": 1}, None))
    put(tmp_path, *grid())
    for number, (path, other) in enumerate(zip(parts_of(base), others)):
        changed = copy.deepcopy(base) | {"key": f"k{number}", "table": f"t{number}"}
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = other
        (tmp_path / "cells" / f"k{number}.json").write_text(json.dumps(changed))
    report.write(tmp_path)
    assert "+" in page(tmp_path)


def parts_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all that is in nested mappings and in the first of each list."""
    found = list(value.items() if isinstance(value, dict) else enumerate(value[:1]))
    for key, inner in found:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from parts_of(inner, (*path, key))


def test_a_folder_of_foreign_files_alone_still_names_them(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "x.json").write_text("{")
    assert not [p for p in report.write(tmp_path) if p.name.startswith("cls")]
    assert "cells/x.json" in page(tmp_path, "README")


def test_a_task_without_a_leaderboard_is_named(tmp_path: Path) -> None:
    report.write(put(tmp_path, *grid(), record("se", 0, 60.0, cell__task="juggling", table="0")))
    assert "juggling · cifar10 · resnet20 · short" in page(tmp_path, "README")


@pytest.mark.parametrize("made", [False, True])
def test_an_empty_folder_says_what_makes_records(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "cells").mkdir()
    with pytest.raises(UserError, match="python -m attnbench sweep"):
        report.write(tmp_path)
    assert not list(tmp_path.glob("*.*"))


def test_names_of_files_stay_inside_the_folder(tmp_path: Path) -> None:
    written = report.write(put(tmp_path, record("se", 0, 60.0, cell__data="../../etc/x y")))
    assert {p.parent for p in written} == {tmp_path}
    assert (tmp_path / "cls-..-..-etc-x-y-resnet20-short.md").exists()


def test_a_name_too_long_for_a_file_is_cut_and_stops_no_other_table(tmp_path: Path) -> None:
    long = [record(attn, 0, 60.0, cell__data="x" * 300, table=t) for t in "ab" for attn in ("none", "se")]
    alone = record("se", 0, 60.0, cell__backbone="y" * 300, table="c")
    written = report.write(put(tmp_path, *grid(), *long, alone))
    assert all(len(path.name) < 140 for path in written)
    assert len([p for p in written if p.suffix == ".md" and ("xxx" in p.name or "yyy" in p.name)]) == 3
    assert "+" in page(tmp_path)


def test_a_picture_that_fails_is_named_and_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(table: Table) -> None:
        raise ValueError("no axis for this")

    monkeypatch.setattr(files, "PICTURES", {"": (fails, "Accuracy against cost")})
    report.write(put(tmp_path, *grid()))
    assert "cls-cifar10-resnet20-short: the picture cannot be drawn (ValueError: no axis" in caplog.text
    assert "+" in page(tmp_path) and ".svg" not in page(tmp_path)


@pytest.mark.parametrize(("count", "yardsticks"), [(8, 8), pytest.param(40, 20, marks=pytest.mark.slow)])
def test_many_records_take_some_seconds_and_no_torch(tmp_path: Path, count: int, yardsticks: int) -> None:
    """10,000 take about 3 s on an idle core; processor time against a yardstick, for machines are busy."""
    attns = ("none", *(f"se(reduction={r})" for r in range(1, 50)))
    (tmp_path / "cells").mkdir()
    for table in range(count):
        for made in (
            record(a, s, 60.0 + s * 0.1 + len(a) * 0.01, table=f"{table:012d}")
            for a in attns
            for s in range(5)
        ):
            made["cell"]["backbone"] = f"net{table}"
            (tmp_path / "cells" / f"{made['key']}.json").write_text(json.dumps(made))
    code = (
        "import sys, pathlib, time; from attnbench import report;"
        "report.write(pathlib.Path(sys.argv[1]), report.Choice(pictures=False));"
        "took = time.process_time(); list(map(abs, range(-10**7, 0)));"
        "print([m for m in ('torch', 'hydra', 'timm', 'wandb') if m in sys.modules]);"
        "print(took, time.process_time() - took)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    modules, times = ran.stdout.splitlines()
    report_s, yardstick_s = map(float, times.split())
    assert modules == "[]"
    print(times)
    assert report_s < yardsticks * yardstick_s, times


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_takes_what_a_report_writes(tmp_path: Path) -> None:
    odd = record("se(mode=a|b_{c}, d~e^f#g&h%$)", 0, 60.0)
    failed = record("gc", 0, 9.0, status="failed", reason="loss < 0 \\ or > 1 — “no”")
    pages = [p for p in report.write(put(tmp_path, *grid(), odd, failed)) if p.suffix == ".tex"]
    inputs = "".join(rf"\input{{{page.name}}}" for page in pages)
    size = r"\usepackage[paperwidth=300cm,paperheight=200cm]{geometry}\usepackage{booktabs}"
    whole = rf"\documentclass{{article}}{size}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "whole.tex").write_text(whole)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"]
    said = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120
    )
    assert said.returncode == 0, said.stdout[-2000:]
    assert "Missing character" not in said.stdout


@pytest.mark.parametrize("words", [["report"], ["report", "published"]])
def test_a_folder_that_is_not_there_is_refused_and_not_made(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, f"results={tmp_path / 'typo'}"]) == 2
    assert str(tmp_path / "typo") in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
