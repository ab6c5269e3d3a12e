"""`Nest` takes nests apart and puts them together, lists and tuples being interchangeable."""

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest

from arrayrnn._recurrence.nests import Named, Nest, NestMismatchError


class Pair(NamedTuple):
    first: Any
    second: Any


NESTS = [1, (1,), (1, 2), [1, 2], {"b": 1, "a": (2,)}, Pair(1, [2]), [{"a": Pair(1, 2)}, 3], (), []]


@pytest.mark.parametrize("tree", NESTS, ids=str)
def test_a_nest_is_put_together_as_it_was(tree):
    leaves, nest = Nest.of(tree)
    built = nest.build(leaves)
    assert built == tree
    assert type(built) is type(tree)


@pytest.mark.parametrize("tree", NESTS, ids=str)
def test_other_leaves_come_in_the_same_order(tree):
    leaves, nest = Nest.of(tree)
    others = tuple(f"leaf {k}" for k in range(len(leaves)))
    assert tuple(nest.leaves(nest.build(others))) == others


def test_only_a_leaf_by_itself_is_a_leaf():
    assert [Nest.of(tree)[1].is_leaf for tree in (1, (1,), {"a": 1})] == [True, False, False]


@pytest.mark.parametrize(
    ("tree", "other"),
    [
        ((1, 2), [3, 4]),
        ([1, 2], (3, 4)),
        (Pair(1, 2), [3, 4]),
        (((1,), [2]), [[3], (4,)]),
        ({"a": (1,), "b": 2}, {"b": 4, "a": [3]}),
    ],
    ids=str,
)
def test_lists_and_tuples_are_interchangeable(tree, other):
    nest = Nest.of(tree)[1]
    built = nest.build(nest.leaves(other))
    assert built == nest.build((3, 4))
    assert type(built) is type(tree)


@pytest.mark.parametrize(
    ("tree", "other"),
    [
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, OrderedDict(a=1)),
        ({"a": 1}, (1,)),
        ([(1,), 2], [(1, 2)]),
        ([(1, 2)], [(1,), 2]),
        ([(1,), 2], [1, (2,)]),
        ([(1,), 2], [(1,), 2, 3]),
        ([(1,)], [((1,),)]),
    ],
    ids=str,
)
def test_another_structure_does_not_match(tree, other):
    with pytest.raises(NestMismatchError):
        Nest.of(tree)[1].flatten(other)


@pytest.mark.parametrize(
    ("trees", "columns"),
    [
        ([1, 2, 3], [(1, 2, 3)]),
        ([(1, 2), [3, 4], (5, 6)], [(1, 3, 5), (2, 4, 6)]),
        ([{"b": 1, "a": 2}, {"a": 4, "b": 3}], [(2, 4), (1, 3)]),
    ],
    ids=["leaf", "pair", "dict"],
)
def test_columns_are_the_values_of_each_leaf(trees, columns):
    assert [tuple(column) for column in Nest.of(trees[0])[1].columns(trees)] == columns


def test_paths_are_what_one_would_write():
    states = Named.of([{"b": Pair(1, 2)}, (3,)], "states")
    written = [states.path(k) for k in range(len(states.leaves))]
    assert written == ["states[0]['b'].first", "states[0]['b'].second", "states[1][0]"]


def test_the_path_of_a_lone_leaf_is_its_name():
    assert Named.of(1, "inputs").path(0) == "inputs"
