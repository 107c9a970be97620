"""`load_results`: the records as one tidy data frame."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

import attnbench
from attnbench.report import load_results
from attnbench.report.frame import FIELDS
from tests.factories import grid, put, record


def test_a_row_a_record_with_numbers_as_numbers(tmp_path: Path) -> None:
    lost = record("gc", 0, 9.0, status="failed", reason="killed", metrics=None, cost=None)
    frame = attnbench.load_results(put(tmp_path, *grid(), lost))
    assert len(frame) == 10
    told = frame.query("attn == 'se' and seed == 1").iloc[0]
    assert told["test_top1_percent"] == 61.0 + 0.3 + 0.1 * ((7 + 3) % 5)
    assert (told["macs"], told["latency_ratio"], told["category"]) == (41000000, 1.2, "channel")
    gc = frame[frame["attn"] == "gc"].iloc[0]
    assert gc["reason"] == "killed" and pd.isna(gc["test_top1_percent"]) and pd.isna(gc["params"])
    means = frame[frame["status"] == "done"].groupby("attn")["test_top1_percent"].mean()
    assert means["eca"] > means["none"]
    assert frame["key"].is_monotonic_increasing


def test_every_column_says_what_it_is_and_numbers_have_their_unit_in_the_name(tmp_path: Path) -> None:
    frame = load_results(put(tmp_path, *grid()))
    assert set(frame.columns) == set(frame.attrs["columns"])
    assert all(frame.attrs["columns"].values())
    counts = ("seed", "params", "macs", "activations", "elementwise_operations", "pixels")
    counts += ("train_images", "val_images", "test_images", "micro_batch", "dead_parameters")
    units = ("_percent", "_nats", "_bytes", "_ms", "_s", "_ratio")
    for name in frame.select_dtypes("number").columns:
        assert name.endswith(units) or name.startswith(counts), name
    assert all(field.name in (load_results.__doc__ or "") for field in FIELDS)


def test_classes_of_a_segmentation_are_columns(tmp_path: Path) -> None:
    made = record("se", 0, 0.0, cell__task="seg", metrics={"test": {"miou": 50.0, "iou_road": 90.0}})
    frame = load_results(put(tmp_path, made))
    assert frame["test_iou_road_percent"][0] == 90.0 and frame["test_miou_percent"][0] == 50.0


def test_the_pixels_that_a_network_of_glimpses_saw_are_a_column(tmp_path: Path) -> None:
    frame = load_results(put(tmp_path, record("none", 0), record("se", 0, cost__pixels_seen=18144)))
    assert frame.set_index("attn")["pixels_seen"]["se"] == 18144
    assert frame["pixels_seen"].isna().sum() == 1


def test_numbers_of_images_micro_batches_and_dead_parameters_are_columns(tmp_path: Path) -> None:
    more = {"images": {"train": 9000, "val": 1000, "test": 10000}, "dead_parameters": ["a", "b"]}
    counted = record("se", 0, 60.0, config__hardware={"micro_batch": 8})
    frame = load_results(put(tmp_path, {**counted, "provenance": counted["provenance"] | more}))
    names = ["train_images", "val_images", "test_images", "micro_batch", "dead_parameters"]
    assert frame.loc[0, names].tolist() == [9000, 1000, 10000, 8, 2]


def test_an_empty_folder_gives_an_empty_frame(tmp_path: Path) -> None:
    frame = load_results(tmp_path)
    assert frame.empty and "test_top1_percent" in frame.columns


def test_neither_torch_nor_pandas_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, attnbench, attnbench.report; first = 'pandas' in sys.modules;"
        "attnbench.load_results('nowhere'); print(first, 'pandas' in sys.modules, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "False"]
