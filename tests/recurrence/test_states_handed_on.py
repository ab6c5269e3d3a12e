"""States that a step hands on as they came are not selected again, and stay what they were."""

import numpy as np
import pytest

from arrayrnn._recurrence import masked
from support.backends import Backend, assert_same
from support.oracle import Recorder, draw, recurrence, together
from support.running import rnn

# The same mask one timestep after the other, gaps, and a rest of all.
GAPS = np.array([[1, 0, 0, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 0, 1, 0]], dtype=bool)


def attention(x_t, states):
    """Compute a step with a memory of each sample, which it hands on as it came."""
    level, memory = states
    level = 0.5 * level + x_t * memory[:, 0, :] - memory[:, 1, :]
    return level, [level, memory]


@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_a_state_that_is_handed_on_as_it_came_stays_what_it_was(backend, samplewise, go_backwards):
    x, states = draw(backend, 3, 7, 2), [draw(backend, 3, 2), draw(backend, 3, 2, 2)]
    expected = recurrence(attention, x, states, GAPS, go_backwards=go_backwards)
    options = {"mask": GAPS, "samplewise": samplewise, "go_backwards": go_backwards}
    found = rnn(attention, *backend.arrays((x, states)), **options)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("samplewise", [False, True])
def test_states_that_change_places_are_not_handed_on_as_they_came(backend, samplewise):
    x, states = draw(backend, 3, 7, 2), [draw(backend, 3, 2), draw(backend, 3, 2)]
    step = lambda x_t, states: (states[0] + x_t, [states[1], states[0]])  # noqa: E731
    expected = recurrence(step, x, states, GAPS)
    arrays = backend.arrays((x, states))
    found = rnn(step, *arrays, mask=GAPS, samplewise=samplewise)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("shown", [0, 1])
def test_a_state_that_is_handed_on_may_be_the_output(backend, samplewise, shown):
    x, states = draw(backend, 3, 7, 2), [draw(backend, 3, 2), draw(backend, 3, 2)]
    step = lambda x_t, states: (states[shown], [states[0], states[1] + x_t])  # noqa: E731
    expected = recurrence(step, x, states, GAPS)
    arrays = backend.arrays((x, states))
    found = rnn(step, *arrays, mask=GAPS, samplewise=samplewise)
    assert_same(backend, found, expected, exact=True)


@pytest.mark.parametrize("samplewise", [False, True])
@pytest.mark.parametrize("changes", [[0, 1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0, 1]], ids=str)
def test_a_state_may_be_handed_on_at_some_timesteps_and_change_at_others(samplewise, changes):
    def remembering():
        changing = iter(changes)

        def step(x_t, states):
            total, other = states
            return total, [total + x_t if next(changing) else total, other]

        return step

    # The second sample sees to it that the step is called at each timestep.
    keep = np.array([[1, 0, 0, 0, 1, 1, 0], [1] * 7, [0, 1, 1, 1, 1, 0, 0]], dtype=bool)
    x, states = draw(Backend.NUMPY, 3, 7, 1), [draw(Backend.NUMPY, 3, 1)] * 2
    expected = together(remembering(), x, states, keep)
    found = rnn(remembering(), x, states, mask=keep, samplewise=samplewise)
    assert_same(Backend.NUMPY, found, expected, exact=True)


def shapes_selected(monkeypatch, step, x, states, **options):
    """Return the shapes of all that is selected timestep by timestep."""
    shapes = []

    def selecting(mask, new, old):
        shapes.append(new.shape)
        return np.where(mask, new, old)

    monkeypatch.setattr(masked, "where_of", lambda xp: selecting)
    rnn(step, x, states, mask=GAPS, **options)
    return shapes


def test_a_state_that_is_handed_on_as_it_came_is_not_selected(monkeypatch):
    x, states = np.ones((3, 7, 2)), [np.ones((3, 2)), np.ones((3, 2, 2))]
    shapes = shapes_selected(monkeypatch, attention, x, states)
    assert (3, 2) in shapes
    assert (3, 2, 2) not in shapes


def test_under_the_promise_the_donor_is_laid_over_it_once_for_each_mask(monkeypatch):
    x, states = np.ones((3, 7, 2)), [np.ones((3, 2)), np.ones((3, 2, 2))]
    shapes = shapes_selected(monkeypatch, attention, x, states, samplewise=True)
    called = GAPS.any(axis=0) & ~GAPS.all(axis=0)
    again = called[1:] & (GAPS[:, 1:] == GAPS[:, :-1]).all(axis=0)
    assert shapes.count((3, 2, 2)) == called.sum() - again.sum()


def test_a_state_that_is_handed_on_as_it_came_is_given_to_each_call_as_the_same_object():
    step = Recorder(attention)
    x, states = np.ones((3, 40, 2)), [np.ones((3, 2)), np.ones((3, 2, 2))]
    (_, memory) = rnn(step, x, states, mask=np.arange(40) % 2 < [[1], [2], [1]])[2]
    # The first calls are watched for what they write into what they are given.
    assert {id(memory) for _, memory in step.states[10:]} == {id(memory)}
