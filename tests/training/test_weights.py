"""Weights are kept on request, and are those that the record was measured with."""

import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_model

from attnbench import records, running, tasks
from attnbench.sweeping import sweep
from attnbench.training.distributed import Group
from attnbench.training.evaluation import evaluate, final
from tests.factories import tiny

FEW = ["data.size=16", "recipe.epochs=1", "recipe.ema=0.9", "cost.counters=false", "cost.memory=false"]


def test_kept_weights_give_the_records_metrics(tmp_path):
    cell = tiny(tmp_path, *FEW, "keep=true")
    assert cell.key == tiny(tmp_path, *FEW).key
    record = running.run(cell)
    assert "keep" not in record["config"]
    file = tmp_path / "runs" / cell.key / records.WEIGHTS
    with safe_open(str(file), "pt") as kept:
        assert kept.metadata() == {"key": cell.key}
    network = running.build(cell)
    load_model(network, str(file))
    test = running._dataset(cell.config, torch.device("cpu")).test
    row = evaluate(network, test, tasks.load(cell.config), cell.config, Group()).row("test")
    assert final(row, "test", cell.config.recipe.precision) == record["metrics"]["test"]


def test_a_done_cell_is_run_again_for_weights_that_were_not_kept(tmp_path):
    plain, keeping = (tiny(tmp_path, *FEW, "launch=inline", *more) for more in ((), ("keep=true",)))
    file = tmp_path / "runs" / plain.key / records.WEIGHTS
    console = Console(record=True, width=200)
    for cell, there, done in ((plain, False, 0), (plain, False, 1), (keeping, True, 0), (keeping, True, 1)):
        assert sweep([cell], cell.config.launch, console) == 0
        assert file.is_file() is there
        assert f"1 cell: {done} done" in console.export_text()
