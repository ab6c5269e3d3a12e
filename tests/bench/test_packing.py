"""Packing against the masked loop, and against PyTorch's own for its LSTM."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from arrayrnn import rnn
from workloads import Workload, assert_same, lstm, lstm_step, lstm_weights

SHAPE = {"samples": 64, "time": 500, "features": 128, "units": 512}
WHAT = "64 × 500 × 128 → 512"


def run(case: Workload, mask: Any, *, samplewise: bool) -> Any:
    states = list(case.states)
    return rnn(case.step, case.inputs, states, mask=mask, samplewise=samplewise)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_against_the_masked_loop(xp: Any, compare: Callable[..., None]) -> None:
    case = lstm(xp, **SHAPE)
    ours, other = (partial(run, case, case.mask, samplewise=flag) for flag in (True, False))
    assert_same(ours(), other())
    compare(f"masked    {xp.__name__:6} lstm    {WHAT}, padded", ours, other, "≤ 0.667")


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
def test_at_full_length(xp: Any, compare: Callable[..., None]) -> None:
    case = lstm(xp, **SHAPE)
    mask = xp.ones_like(case.mask)
    ours, other = (partial(run, case, mask, samplewise=flag) for flag in (True, False))
    compare(f"masked    {xp.__name__:6} lstm    {WHAT}, full length", ours, other, "≤ 1.03")


def test_gradients_against_the_masked_loop(compare: Callable[..., None]) -> None:
    case = lstm(torch, **SHAPE)
    weights = lstm_weights(torch, SHAPE["features"], SHAPE["units"])
    case = case._replace(step=lstm_step(torch, *(w.requires_grad_() for w in weights)))

    def gradients(samplewise: bool) -> Any:
        with torch.enable_grad():
            _, outputs, _ = run(case, case.mask, samplewise=samplewise)
            return torch.autograd.grad(outputs.sum(), weights)

    ours, other = partial(gradients, True), partial(gradients, False)
    for found, expected in zip(ours(), other(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-1)
    compare(f"masked    torch  lstm    {WHAT}, padded, gradients", ours, other)


def test_against_pytorchs_packed_lstm(compare: Callable[..., None]) -> None:
    case = lstm(torch, **SHAPE)
    lengths = case.mask.sum(dim=1)
    layer = torch.nn.LSTM(SHAPE["features"], SHAPE["units"], batch_first=True)
    kernel, recurrent, bias = lstm_weights(torch, SHAPE["features"], SHAPE["units"])
    # PyTorch's gates are input, forget, candidate, output; ours forget, input, output, candidate.
    order = torch.arange(4 * SHAPE["units"]).reshape(4, -1)[[1, 0, 3, 2]].reshape(-1)
    layer.weight_ih_l0.copy_(kernel.T[order])
    layer.weight_hh_l0.copy_(recurrent.T[order])
    layer.bias_ih_l0.copy_(bias[order])
    layer.bias_hh_l0.zero_()

    def other() -> Any:
        packed = pack_padded_sequence(case.inputs, lengths, batch_first=True, enforce_sorted=False)
        outputs, states = layer(packed)
        time = SHAPE["time"]
        return pad_packed_sequence(outputs, batch_first=True, total_length=time)[0], states

    def ours() -> Any:
        _, outputs, states = rnn(
            case.step,
            case.inputs,
            list(case.states),
            mask=case.mask,
            samplewise=True,
            zero_output_for_mask=True,
        )
        return outputs, tuple(state[None] for state in states)

    assert_same(ours(), other())
    compare(f"nn.LSTM   torch  lstm    {WHAT}, padded", ours, other)
