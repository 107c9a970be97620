"""Which images make up a batch: determinism, restarts, ranks, stratified choices."""

import numpy as np
import pytest

from attnbench.config.recipe import Augment
from attnbench.config.schema import Data
from attnbench.data.pipeline.order import Plan, generator, stratified
from attnbench.data.pipeline.split import choose, hold_out
from attnbench.errors import UserError

RESIZED = Augment(crop="resized")


def _same(a, b) -> bool:
    return np.array_equal(a.rows, b.rows) and all(np.array_equal(p, q) for p, q in zip(a.draws, b.draws))


def test_a_plan_is_a_function_of_seed_epoch_and_step():
    plans = [Plan(50, 8, seed=3, epoch=2, augment=RESIZED, shuffle=True) for _ in range(2)]
    assert all(_same(a, b) for a, b in zip(*plans))


@pytest.mark.parametrize("other", [{"seed": 4}, {"epoch": 3}, {"seed": -3}])
def test_another_seed_or_epoch_is_another_order_and_other_draws(other):
    one = Plan(50, 8, **{"seed": 3, "epoch": 2, **other}, augment=RESIZED, shuffle=True)
    two = Plan(50, 8, seed=3, epoch=2, augment=RESIZED, shuffle=True)
    assert not np.array_equal(one.order, two.order)
    assert not np.array_equal(one[0].draws.uniform, two[0].draws.uniform)


def test_steps_of_an_epoch_draw_differently():
    plan = Plan(50, 8, augment=RESIZED)
    assert not np.array_equal(plan[0].draws.uniform, plan[1].draws.uniform)


def test_a_pass_covers_every_image_once_and_unshuffled_in_order():
    assert sorted(np.concatenate([b.rows for b in Plan(50, 8, shuffle=True)])) == list(range(50))
    assert list(np.concatenate([b.rows for b in Plan(50, 8)])) == list(range(50))


def test_drop_last_leaves_out_the_batch_that_is_not_full():
    assert [len(b.rows) for b in Plan(50, 8, drop_last=True)] == [8] * 6
    assert [len(b.rows) for b in Plan(50, 8)] == [8] * 6 + [2]


def test_a_pass_begun_later_goes_on_as_the_whole_one():
    whole = list(Plan(50, 8, seed=1, augment=RESIZED, shuffle=True))
    late = list(Plan(50, 8, seed=1, augment=RESIZED, shuffle=True, start=3))
    assert len(late) == 4
    assert all(_same(a, b) for a, b in zip(whole[3:], late))


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_every_global_batch_row_by_row(world):
    arguments = {"seed": 1, "epoch": 1, "augment": RESIZED, "shuffle": True}
    whole = Plan(49, 8, **arguments)
    parts = [Plan(49, 8, **arguments, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert np.array_equal(part[step].rows, batch.rows[rank::world])
            assert np.array_equal(part[step].draws.uniform, batch.draws.uniform[rank::world])
            assert np.array_equal(part[step].draws.boxes, batch.draws.boxes[rank::world])


def test_nothing_is_drawn_where_nothing_is_augmented():
    assert Plan(10, 4)[0].draws is None


def test_every_beginning_of_a_stratified_order_is_balanced():
    labels = generator(5).permutation(np.repeat(np.arange(7), 30))
    order = stratified(labels, 0)
    assert sorted(order) == list(range(210))
    for n in range(1, 211):
        counts = np.bincount(labels[order[:n]], minlength=7)
        assert counts.max() - counts.min() <= 2
        if n % 7 == 0:
            assert counts.max() - counts.min() == 0


def test_stratified_keeps_the_shares_of_uneven_classes():
    labels = np.repeat([0, 1], [900, 100])
    assert np.bincount(labels[stratified(labels, 1)[:100]]).tolist() == [90, 10]


def test_held_out_images_are_disjoint_complete_and_balanced():
    labels = generator(1).permutation(np.repeat(np.arange(10), 50))
    train, val = hold_out(labels, Data(), 0.1)
    assert sorted([*train, *val]) == list(range(500))
    assert np.bincount(labels[val]).tolist() == [5] * 10
    other = hold_out(labels, Data(split_seed=1), 0.1)[1]
    assert set(val) != set(other)


def test_a_count_takes_a_balanced_part_and_a_smaller_one_is_part_of_it():
    labels = np.repeat(np.arange(10), 100)
    few, more = (hold_out(labels, Data(train=n, val=n // 2), 0.1) for n in (50, 100))
    assert np.bincount(labels[few[0]]).tolist() == [5] * 10
    assert set(few[0]) < set(more[0])
    assert set(few[1]) < set(more[1])
    assert not set(more[0]) & set(hold_out(labels, Data(), 0.1)[1])


def test_more_images_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"data\.test=11.*has 10 images"):
        choose(np.zeros(10, int), 11, "test", 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UserError, match="val_share"):
        hold_out(np.zeros(10, int), Data(), share)
