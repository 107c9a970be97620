"""Latency beside a control, throughput, peak memory, and the record that they make."""

import copy
import json

import pytest
import torch
from torch import nn

from attnbench import cost
from attnbench.config.launch import Hardware
from attnbench.config.recipe import Precision
from attnbench.config.schema import Cost
from attnbench.cost.measuring.latency import median
from attnbench.cost.measuring.machine import foreign_share, gpu_state
from attnbench.errors import Impossible, UserError

IMAGE = (3, 32, 32)


def network(blocks: int = 1) -> nn.Module:
    layers = [
        m for _ in range(blocks) for m in (nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    ]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_the_median_has_the_order_statistics_that_enclose_it():
    assert median([3.0])[:3] == (3, 3, 3)
    assert median([4.0, 1, 3, 2, 5])[:3] == (3, 1, 5)  # of five, only the extremes reach 93.75 %
    assert median(range(1, 21))[:3] == (10.5, 6, 15)  # the textbook's ranks for 20: 95.9 %


def test_drift_between_blocks_of_rounds_is_variation_too():
    assert median([1.0] * 20).variation == 0
    steady, drifting = [0.99, 1.01] * 10, [*[0.99] * 10, *[1.01] * 10]
    assert median(steady).median == median(drifting).median == 1
    assert median(drifting).variation > median([1.0] * 20).variation
    assert median([1.0] * 16 + [5.0] * 4).variation > 0.3  # the interval alone sees no spread


def test_two_identical_models_differ_by_less_than_the_noise_in_nine_of_ten_runs():
    model = network()
    runs = [cost.latency(copy.deepcopy(model), model, IMAGE, rounds=12) for _ in range(10)]
    assert sum(abs(run["ratio"] - 1) <= run["noise"] for run in runs) >= 9


def test_a_network_five_times_as_deep_is_slower_than_the_noise():
    found = cost.latency(network(8), network(1), IMAGE, rounds=12)
    assert found["ratio_low"] > 1 + found["noise"]
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert found["q1_ms"] <= found["median_ms"] <= found["q3_ms"]
    assert found["cpu_ratio_high"] >= found["cpu_ratio"] >= found["cpu_ratio_low"] > 1
    assert 0 <= found["cpu_noise"] < found["cpu_ratio"] - 1
    assert found["rounds"] in (12, 24, 36, 48)
    assert found["steady"] == (found["cv"] <= 0.02)
    assert 0 <= found["foreign"] <= 1
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_timing_leaves_the_models_and_the_threads_alone(training, precision):
    model = network().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    threads = torch.get_num_threads()
    found = cost.latency(
        model, model, IMAGE, batch=2, rounds=2, training=training, precision=precision, channels_last=True
    )
    assert (found["training"], found["precision"], found["channels_last"]) == (training, str(precision), True)
    assert (found["batch"], found["threads"], found["device"]) == (2, 1, "cpu")
    assert torch.get_num_threads() == threads
    assert model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_unknown_and_impossible_modes_are_refused():
    with pytest.raises(UserError, match="known: eager, compile, cuda_graph"):
        cost.latency(network(), network(), IMAGE, mode="jit")
    with pytest.raises(Impossible, match="CUDA"):
        cost.latency(network(), network(), IMAGE, mode="cuda_graph")


class Hungry(nn.Module):
    """Runs out of memory beyond a batch of eight, and gains nothing beyond four."""

    def forward(self, x):
        if len(x) > 8:
            raise torch.OutOfMemoryError("no room")
        return x


def test_throughput_tries_batches_while_they_gain():
    found = cost.throughput(network(), IMAGE, batches=(1, 2, 4), rounds=3)
    assert found["images_per_s"] == max(found["tried"].values()) == found["tried"][str(found["batch"])]
    assert "1" in found["tried"]


def test_throughput_ends_where_memory_does():
    found = cost.throughput(Hungry(), IMAGE, batches=(8, 16), rounds=2)
    assert found["batch"] == 8 and list(found["tried"]) == ["8"]
    with pytest.raises(Impossible, match="batch of 16"):
        cost.throughput(Hungry(), IMAGE, batches=(16,), rounds=2)


FLOAT = 4  # bytes


def test_peak_memory_of_inference_is_weights_and_the_two_largest_neighbours():
    model = nn.Sequential(nn.Linear(10, 1000), nn.Linear(1000, 300), nn.Linear(300, 1))
    weights = 10 * 1000 + 1000 + 1000 * 300 + 300 + 300 + 1
    maps = 7 * (10 + 1000 + 300)  # the image stays, and while the second layer runs its input and result
    assert cost.peak_memory(model, (10,), batch=7) == FLOAT * (weights + maps)


def test_peak_memory_of_training_is_weights_gradients_momentum_and_what_backward_needs():
    model = nn.Sequential(nn.Linear(100, 200, bias=False), nn.Linear(200, 50, bias=False))
    weights, image = 100 * 200 + 200 * 50, 4 * 100
    found = cost.peak_memory(model, (100,), batch=4, training=True)
    lasting = FLOAT * (3 * weights + image)
    assert lasting < found < lasting + FLOAT * (4 * (200 + 50) * 3 + weights)


def test_peak_memory_grows_with_the_batch_by_what_one_image_takes():
    peaks = [cost.peak_memory(network(), IMAGE, batch) for batch in (1, 2, 3)]
    assert peaks[2] - peaks[1] == peaks[1] - peaks[0] > FLOAT * 3 * 32 * 32


def test_foreign_share_is_a_share_or_unknown():
    with foreign_share() as foreign:
        torch.randn(200, 200) @ torch.randn(200, 200)
    assert foreign.share is None or 0 <= foreign.share <= 1
    assert gpu_state(torch.device("cpu")) is None


def test_a_profile_is_a_record_s_cost_part(tmp_path):
    model, control = network(2), network(1)
    settings = Cost(rounds=2, training=True, throughput=False)
    found = cost.profile(model, control, IMAGE, settings, Hardware(), cost.Store(tmp_path, {"name": "a"}))
    counted = cost.count(model, IMAGE)
    assert {k: found[k] for k in counted} == counted
    second = cost.count(model, IMAGE, "fvcore")
    assert {k: found[f"{k}_fvcore"] for k in second} == second
    assert found["unmeasured"] == {}
    assert found["params"] == sum(p.numel() for p in model.parameters())
    assert found["input"] == list(IMAGE)
    assert found["peak_memory_training_bytes"] > found["peak_memory_bytes"] > 0
    assert found["latency"]["rounds"] >= 2 and found["latency_training"]["batch"] == 2
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    kept = {f.name for f in tmp_path.iterdir()}
    again = cost.profile(model, control, IMAGE, settings, Hardware(), cost.Store(tmp_path, {"name": "a"}))
    assert {f.name for f in tmp_path.iterdir()} == kept
    assert again["macs"] == found["macs"]


def test_what_is_not_asked_for_is_null():
    found = cost.profile(
        network(), network(), IMAGE, Cost(counters=False, memory=False, latency=False), Hardware()
    )
    assert found["macs"] is found["elementwise"] is found["peak_memory_bytes"] is found["latency"] is None
    assert found["params"] > 0


class Reading(nn.Module):
    """A network that runs on some inputs and in some modes, and raises in others."""

    def __init__(self, fails) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.fails = fails

    def forward(self, x):
        if self.fails(self, x):
            raise KeyError("no rule\nfor this")
        return x * self.weight


def test_what_cannot_be_measured_is_named_and_costs_nothing_else():
    settings = Cost(rounds=2, training=True)
    model = Reading(lambda module, x: module.training)
    found = cost.profile(model, model, IMAGE, settings, Hardware())
    reason = "KeyError: 'no rule\\nfor this'"
    assert found["unmeasured"] == {"memory": reason, "latency_training": reason}
    assert found["peak_memory_bytes"] is None and found["elementwise"] > 0 and found["latency"]["ratio"] > 0
    cost.check(found)


def test_a_profile_without_any_figure_fails_when_it_is_checked():
    model = Reading(lambda module, x: True)
    found = cost.profile(model, model, IMAGE, Cost(), Hardware())
    assert set(found["unmeasured"]) == {"counts", "counts by fvcore", "memory", "latency"}
    with pytest.raises(RuntimeError, match="nothing could be measured: counts: KeyError"):
        cost.check(found)


def test_flex_attention_is_measured_but_not_counted():
    from torch.nn.attention.flex_attention import flex_attention

    class Flex(nn.Module):
        def forward(self, x):
            return flex_attention(x, x, x)

    found = cost.profile(Flex(), Flex(), (2, 16, 16), Cost(memory=False, latency=False), Hardware())
    assert found["macs"] is None and "flex_attention" in found["unmeasured"]["counts"]
    assert found["macs_fvcore"] is None and found["unmeasured"]["counts by fvcore"]


def test_half_precision_networks_are_measured():
    found = cost.profile(network().bfloat16(), network().bfloat16(), IMAGE, Cost(rounds=2), Hardware())
    assert (
        found["unmeasured"] == {} and found["latency"]["ratio"] > 0 and found["macs"] == found["macs_fvcore"]
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["eager", "cuda_graph"])
def test_a_gpu_is_timed_by_its_events_and_its_state_recorded(mode):
    model = network()
    found = cost.latency(model, model, IMAGE, device="cuda", rounds=3, mode=mode, precision=Precision.bf16)
    assert found["median_ms"] > 0 and found["cpu_ratio"] is found["cpu_noise"] is found["disturbed"] is None
    assert found["gpu_before"] is None or found["gpu_before"]["clocks_sm"] > 0
    assert (
        cost.peak_memory(model, IMAGE, 2, True, "cuda") > cost.peak_memory(model, IMAGE, 2, False, "cuda") > 0
    )


def test_ranks_of_the_median_are_the_binomial_distributions():
    from scipy.stats import binom

    from attnbench.cost.measuring.latency import _tail

    assert [_tail(n) for n in range(1, 120)] == [int(binom.ppf(0.025, n, 0.5)) for n in range(1, 120)]
