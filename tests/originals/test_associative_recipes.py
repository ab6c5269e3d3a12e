"""The recipes of docs/guide/associative_scan.md give what pandas, SciPy and loops give."""

import doctest
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import signal, special

PAGE = Path(__file__).parents[2] / "docs/guide/associative_scan.md"


@pytest.fixture(scope="module")
def own():
    """Return what the page defines, which prints what it says."""
    everywhere, mark, _ = PAGE.read_text().partition("<!-- needs: torch -->")
    assert mark
    test = doctest.DocTestParser().get_doctest(everywhere, {}, PAGE.name, None, 0)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    return test.globs


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def with_gaps(time):
    """Return series without missing values, with some, with nothing else, and with long gaps."""
    rng = np.random.default_rng(time)
    x = rng.normal(size=(7, time))
    x[1] = np.where(rng.random(time) < 0.3, np.nan, x[1])
    x[2] = np.where(rng.random(time) < 0.9, np.nan, x[2])
    x[3] = np.nan
    x[4, : time // 3] = np.nan
    x[5, time // 2 :] = np.nan
    x[6, 1:-1] = np.nan
    return x


@pytest.mark.parametrize("time", [1, 2, 17, 300])
@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.6, 0.9])
@pytest.mark.parametrize("ignore_na", [False, True])
@pytest.mark.parametrize("adjust", [False, True])
def test_the_exponentially_weighted_mean_is_that_of_pandas(own, adjust, ignore_na, alpha, time):
    x = with_gaps(time)
    mean = own["adjusted" if adjust else "unadjusted"]
    expected = pd.DataFrame(x.T).ewm(alpha=alpha, adjust=adjust, ignore_na=ignore_na).mean()
    assert_close(mean(x, alpha, ignore_na), expected.to_numpy().T)


@pytest.mark.parametrize("ignore_na", [False, True])
@pytest.mark.parametrize("adjust", [False, True])
def test_the_values_shown_are_those_of_pandas(own, adjust, ignore_na):
    (x,) = own["x"]
    expected = pd.Series(x).ewm(alpha=0.25, adjust=adjust, ignore_na=ignore_na).mean()
    (found,) = own["adjusted" if adjust else "unadjusted"](x[None], 0.25, ignore_na)
    assert_close(found, expected)


def test_pandas_has_another_mean_where_the_page_says_so(own):
    x = np.asarray([[1.0, np.nan, 4.0]])
    found = own["unadjusted"](x, 0.5, ignore_na=False)
    documented = (0.5**2 * 1 + 0.5 * 4) / (0.5**2 + 0.5)
    assert_close(found[0, -1], documented)
    expected = pd.Series(x[0]).ewm(alpha=0.5, adjust=False, ignore_na=False).mean()
    assert not np.isclose(expected.iloc[-1], documented)

    x = np.concat([np.ones((1, 1)), np.full((1, 2000), np.nan)], axis=1)
    assert np.isnan(own["adjusted"](x, 0.5, ignore_na=False)[0, -1])
    assert pd.Series(x[0]).ewm(alpha=0.5).mean().iloc[-1] == 1


def filters():
    rng = np.random.default_rng(0)
    for kind in ("lowpass", "highpass"):
        for cutoff in (0.01, *rng.uniform(0.02, 0.98, 3)):
            yield pytest.param(signal.butter(2, cutoff, kind), id=f"{kind} {cutoff:.2f}")
    for low, high in np.sort(rng.uniform(0.02, 0.98, (3, 2))):
        name = f"bandpass {low:.2f} {high:.2f}"
        yield pytest.param(signal.butter(1, [low, high], "bandpass"), id=name)
    for at, quality in zip(rng.uniform(0.02, 0.98, 3), (2, 10, 100), strict=True):
        yield pytest.param(signal.iirpeak(at, quality), id=f"peak {at:.2f} {quality}")


each_filter = pytest.mark.parametrize("coefficients", [*filters()])


@each_filter
@pytest.mark.parametrize("time", [1, 40, 2000])
def test_the_biquad_is_that_of_scipy(own, coefficients, time):
    b, a = coefficients
    x, zi = drawn(time, 3, time), drawn(1, 3, 2)
    assert_close(own["biquad"](b, a, x)[0], signal.lfilter(b, a, x))
    found, expected = own["biquad"](b, a, x, zi), signal.lfilter(b, a, x, zi=zi)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@each_filter
def test_the_biquad_goes_on_with_the_next_chunk(own, coefficients):
    b, a = coefficients
    x, z, found = drawn(2, 3, 500), np.zeros((3, 2)), []
    for chunk in np.split(x, [1, 100, 317], axis=1):
        y, z = own["biquad"](b, a, chunk, z)
        found.append(y)
    assert_close(np.concat(found, axis=1), signal.lfilter(b, a, x))


@each_filter
def test_the_biquad_there_and_back_is_that_of_scipy(own, coefficients):
    b, a = coefficients
    x, settled = drawn(3, 3, 500), signal.lfilter_zi(b, a)
    there, _ = own["biquad"](b, a, x, x[:, :1] * settled)
    back = there[:, ::-1]
    back, _ = own["biquad"](b, a, back, back[:, :1] * settled)
    assert_close(back[:, ::-1], signal.filtfilt(b, a, x, padtype=None))


def test_a_chain_of_biquads_is_a_filter_of_higher_order(own):
    sections, x = signal.ellip(6, 1, 60, 0.3, output="sos"), drawn(4, 3, 500)
    y = x
    for section in sections:
        y, _ = own["biquad"](section[:3], section[3:], y)
    assert_close(y, signal.sosfilt(sections, x))


@pytest.mark.parametrize("lengths", [None, [0, 1, 150, 300]], ids=["whole", "ragged"])
def test_the_state_space_layer_is_a_loop(own, lengths):
    samples, time, features, states = 4, 300, 3, 16
    poles = -np.exp(drawn(5, states)) + 1j * np.pi * drawn(6, states)
    factors, b = own["discretized"](poles, drawn(7, states, features), np.exp(drawn(8, states) - 3))
    c = drawn(9, features, states) + 1j * drawn(10, features, states)
    d, u = drawn(11, features), drawn(12, samples, time, features)
    y = own["state_space"](factors, b, c, d, u, lengths)
    for s in range(samples):
        h = np.zeros(states, complex)
        for t in range(time):
            if lengths is None or t < lengths[s]:
                h = factors * h + b @ u[s, t]
            assert_close(y[s, t], (c @ h).real + d * u[s, t])


@pytest.mark.parametrize("poles", [-0.5 + 1j * np.pi * np.arange(4), -1.0 - np.arange(4)])
def test_the_discretized_poles_are_those_of_scipy(own, poles):
    b, dt = drawn(13, 4, 2), 0.1
    factors, summands = own["discretized"](poles, b, dt)
    system = np.diag(poles), b, np.eye(4), np.zeros((4, 2))
    expected, expected_summands, *_ = signal.cont2discrete(system, dt, "zoh")
    assert_close(np.diag(factors), expected)
    assert_close(summands, expected_summands)


@pytest.mark.parametrize("time", [1, 2, 17, 400])
@pytest.mark.parametrize("some_are_zero", [False, True])
def test_the_forward_algorithm_is_a_loop(own, time, some_are_zero):
    rng = np.random.default_rng(time)
    initial, transitions = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4), size=4)
    if some_are_zero:  # states that follow one another
        initial, transitions = np.eye(4)[0], np.triu(transitions)
    with np.errstate(divide="ignore"):
        initial, transitions = np.log(initial), np.log(transitions)
    seen = 3 * drawn(14, time, 4)
    found = own["forward"](initial, transitions, seen)
    expected = initial + seen[0]
    assert_close(found[0], expected)
    for t in range(1, time):
        expected = special.logsumexp(expected[:, None] + transitions, axis=0) + seen[t]
        assert_close(found[t], expected)


@pytest.mark.parametrize("time", [1, 17, 500])
def test_the_sums_of_segments_are_sums_of_each(own, time):
    rng = np.random.default_rng(time)
    starts, x = rng.random(time) < 0.1, rng.normal(size=time)
    x[time // 3] = np.inf
    _, found = own["associative_scan"](own["segmented"], (starts, x))
    pieces = np.split(x, np.flatnonzero(starts))
    assert_close(found, np.concat([np.cumsum(piece) for piece in pieces]))
