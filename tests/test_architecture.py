"""The arrows between the parts, held by walking the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnbench

PACKAGE = Path(attnbench.__file__).parent
FILES = {
    ".".join(("attnbench", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in PACKAGE.rglob("*.py")
}
ONLY = {  # package -> the modules that may import it
    "hydra": ["attnbench.config", "benchmarks.multirun"],
    "wandb": ["attnbench.tracking"],
    "submitit": ["attnbench.sweeping.executors.slurm"],
    "ray": ["attnbench.sweeping.executors.ray"],
    "attnbench.config.load": [
        "attnbench.cli",
        "attnbench.api",
        "attnbench.sweeping.experiment",
        "attnbench.cost.published",
    ],
    "attnbench.running": ["attnbench.sweeping", "attnbench.cli.verbs", "attnbench.cli.show", "benchmarks"],
    "attnbench.sweeping": ["attnbench.api", "attnbench.cli", "benchmarks"],
}
TORCHLESS = [
    "cell",
    "records",
    "report",
    "cli.listing",
    "config.load",
    "config.rules",
    "config.schema",
    "errors",
    "mechanisms",
    "data",
]


def imports(path: Path) -> Iterator[str]:
    """Everything a file imports when it is run, or, unless for types alone, later."""
    tree = ast.parse(path.read_text())
    typing = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    hidden = {id(n) for block in typing for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("package", ONLY)
def test_only_some_may_import(package):
    for module, path in FILES.items():
        if any(within(module, allowed) for allowed in ONLY[package]) or within(module, package):
            continue
        assert not [name for name in imports(path) if within(name, package)], module


def test_mechanisms_import_torch_and_their_own_base_alone():
    for module, path in FILES.items():
        if not within(module, "attnbench.mechanisms") or path.name == "__init__.py":
            continue
        roots = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        assert roots <= {"torch", "torchvision", "jaxtyping", "attnbench"}, module
        own = [name for name in imports(path) if name.startswith("attnbench.")]
        assert all(within(n, "attnbench.mechanisms") or within(n, "attnbench.errors") for n in own), module


@pytest.mark.parametrize("part", ["attnbench.tasks", "attnbench.data", "attnbench.training"])
def test_tasks_data_and_training_know_no_mechanism_by_name(part):
    for module, path in FILES.items():
        if within(module, part):
            assert not [n for n in imports(path) if within(n, "attnbench.mechanisms")], module


@pytest.mark.parametrize("part", TORCHLESS)
def test_parts_that_answer_in_a_second_do_not_load_torch(part):
    code = f"import sys, attnbench.{part}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_file_is_called_utils():
    assert not [p for p in PACKAGE.rglob("*") if p.stem in ("utils", "helpers", "misc", "common")]
