"""`blocks` gives all timesteps, in order, few of them at a time."""

import sys
import weakref

import numpy as np
import pytest

from arrayrnn._loops import blocks as _blocks
from arrayrnn._loops.blocks import blocks
from arrayrnn._recurrence.mask import AGAIN, ALL, NONE, SOME, Donor, Mask
from arrayrnn._recurrence.nests import Named, Nest
from arrayrnn._recurrence.options import Options
from arrayrnn._recurrence.problem import Carry, Problem
from arrayrnn._recurrence.words import RNN
from support.abilities import Ability
from support.backends import Backend

TIMES = [1, 2, 15, 16, 17, 32, 33, 63, 64, 65, 128, 129, 200]


def of(backend, tree, mask=None, *, go_backwards=False):
    """Return the blocks of a nest of arrays with time first."""
    inputs = Named.of(tree, "inputs")
    xp, leaves, donor = backend.xp, inputs.leaves, None
    if mask is not None:
        mask = Mask.of(xp, xp, mask, backend.device)
        mask = mask.backwards() if go_backwards else mask
        donor = Donor.of(xp, mask, leaves, [], go_backwards=go_backwards)
    problem = Problem(
        xp=xp,
        words=RNN,
        step=None,
        inputs=inputs,
        time=leaves[0].shape[0],
        start=Carry(()),
        state_nest=Nest.of(())[1],
        options=Options(),
        mask=mask,
        go_backwards=go_backwards,
    )
    return blocks(problem, donor)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("time", TIMES)
def test_every_timestep_comes_once_and_in_order(backend, time, go_backwards):
    x = backend.array(np.arange(2 * time).reshape(time, 2), "int32")
    order = np.arange(time)[::-1] if go_backwards else np.arange(time)
    times, timesteps = [], []
    for block in of(backend, x, go_backwards=go_backwards):
        times += block.times
        timesteps += [backend.numpy(x_t).tolist() for x_t in block.open()[0]]
    assert times == order.tolist()
    assert timesteps == np.arange(2 * time).reshape(time, 2)[order].tolist()


@pytest.mark.parametrize("time", TIMES)
def test_blocks_are_of_one_size_but_for_the_rest(backend, time):
    x = backend.xp.zeros((time, 1), device=backend.device)
    *sizes, rest = [len(block.times) for block in of(backend, x)]
    assert len({*sizes}) <= 1
    assert all(0 < rest <= size <= 64 for size in sizes)


def test_blocks_of_a_long_sequence_are_as_many_as_one_has_timesteps():
    assert [len(block.times) for block in of(Backend.NUMPY, np.zeros((10_000, 1)))] == [100] * 100


@pytest.mark.parametrize(("elements", "size"), [(1024, 96), (1025, 64)], ids=["small", "large"])
def test_blocks_of_small_timesteps_are_longer(backend, monkeypatch, elements, size):
    monkeypatch.setattr(_blocks, "_FEWEST_SMALL", 96)
    if backend.library in {"jax", "dask", "onnx"}:
        size = 64  # each operation of a block is compiled, or a node of a graph
    x = backend.xp.zeros((200, 1, elements), device=backend.device)
    sizes = [len(block.times) for block in of(backend, x)]
    assert sizes == [size] * (200 // size) + [200 % size]
    one_is_large = of(backend, [x, backend.xp.zeros((200, 5, 205), device=backend.device)])
    assert len(next(one_is_large).times) == 64


@pytest.mark.parametrize("elements", [1, 1025], ids=["small", "large"])
def test_few_timesteps_are_alive_at_any_time(elements):
    time = 160_000
    # All timesteps are the same memory: a large array of them takes none.
    x = np.broadcast_to(np.zeros((1, 1, elements)), (time, 1, elements))
    before, most, last = sys.getrefcount(x.base), 0, lambda: None
    for block in of(Backend.NUMPY, x):
        timesteps = [*block.open()[0]]
        assert len(timesteps) == len(block.times)
        assert last() is None  # a block's own memory goes when the next one is opened
        if elements == 1:
            assert timesteps[0].base is not x.base  # so that a step cannot write into it
            last = weakref.ref(timesteps[0].base)
        most = max(most, sys.getrefcount(x.base) - before)
        del timesteps
    assert most < 4 * 400


def test_a_timestep_is_the_callers_nest(backend):
    ones, twos = (backend.array(np.full((3, 2), n), "int32") for n in (1, 2))
    for block in of(backend, {"b": [ones], "a": twos}):
        timesteps = list(block.open()[0])
    assert [set(x_t) for x_t in timesteps] == [{"a", "b"}] * 3
    assert [backend.numpy(x_t["b"][0]).tolist() for x_t in timesteps] == [[1, 1]] * 3
    assert [backend.numpy(x_t["a"]).tolist() for x_t in timesteps] == [[2, 2]] * 3


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_kinds_come_in_the_order_of_the_timesteps(backend, go_backwards):
    mask = backend.array(np.asarray([[0, 0], [0, 1], [1, 1], [1, 0]], dtype=bool))
    kinds = [NONE, SOME, ALL, SOME]
    (block,) = of(backend, backend.array(np.zeros((4, 2, 1))), mask, go_backwards=go_backwards)
    assert list(block.coverage) == (kinds[::-1] if go_backwards else kinds)


def test_without_a_mask_all_samples_are_of_each_timestep(backend):
    (block,) = of(backend, backend.array(np.zeros((3, 2, 1))))
    assert list(block.coverage) == [ALL] * 3


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_masked_samples_are_the_donor(backend, go_backwards):
    x = backend.array(np.asarray([[[-1], [10]], [[2], [20]], [[3], [-1]]]), "int32")
    mask = backend.array(np.asarray([[0, 1], [1, 1], [1, 0]], dtype=bool))
    (block,) = of(backend, x, mask, go_backwards=go_backwards)
    timesteps = [backend.numpy(x_t)[:, 0].tolist() for x_t in block.open()[0]]
    forwards, backwards = [[10, 10], [2, 20], [3, 10]], [[3, 3], [2, 20], [3, 10]]
    assert timesteps == (backwards if go_backwards else forwards)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_masks_are_aligned_from_the_left(backend, rank, go_backwards):
    host = np.arange(2 * 66).reshape(66, 2) % 3 > 0
    x, expected = backend.array(np.zeros((66, 2, 1))), host[::-1] if go_backwards else host
    shape = (2, 3, 1, 5)[:rank]
    masks = [
        mask
        for block in of(backend, x, backend.array(host), go_backwards=go_backwards)
        for (mask,) in block.open()[1]((shape,))
    ]
    # Broadcast, unless that takes compiling, a node of a graph or knowing of several devices.
    lazy = backend.library in {"jax", "dask", "onnx"}
    assert {tuple(mask.shape) for mask in masks} == {(2,) + (1,) * (rank - 1) if lazy else shape}
    for mask, kept in zip(masks, expected, strict=True):
        assert (backend.numpy(mask) == kept.reshape((2,) + (1,) * (rank - 1))).all()


@pytest.mark.needs(Ability.VALUES)
@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
def test_a_timestep_says_if_the_next_in_order_has_the_same_mask(backend, go_backwards):
    mask = np.asarray([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [0, 1], [0, 0], [0, 0]], bool)
    x = backend.array(np.zeros((8, 2, 1)))
    (block,) = of(backend, x, backend.array(mask), go_backwards=go_backwards)
    forwards = [ALL, ALL, AGAIN, AGAIN, SOME, SOME, NONE, NONE]
    backwards = [NONE, NONE, SOME, AGAIN, AGAIN, SOME, ALL, ALL]
    assert [*block.coverage] == (backwards if go_backwards else forwards)


@pytest.mark.needs(Ability.VALUES)
def test_a_run_of_the_same_mask_ends_with_its_block(backend):
    mask = np.broadcast_to(np.asarray([True, False]), (130, 2)).copy()
    x = backend.array(np.zeros((130, 2, 1)))
    kinds = [[*block.coverage] for block in of(backend, x, backend.array(mask))]
    assert kinds == [[AGAIN] * 63 + [SOME]] * 2 + [[AGAIN, SOME]]
