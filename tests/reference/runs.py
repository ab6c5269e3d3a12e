"""The same case on tf_keras, on NumPy and, for gradients, on PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import optree
import tensorflow as tf
import tf_keras
import torch

import arrayrnn
from cases import CONSTANT


@dataclass(frozen=True)
class Library:
    """What a step needs beside operators."""

    asarray: Callable
    cast: Callable
    reshape: Callable
    concat: Callable
    tanh: Callable
    sum: Callable
    sum_rows: Callable
    max_rows: Callable


NUMPY = Library(
    asarray=np.asarray,
    cast=lambda x, dtype: x.astype(dtype),
    reshape=np.reshape,
    concat=lambda arrays: np.concatenate(arrays, axis=1),
    tanh=np.tanh,
    sum=np.sum,
    sum_rows=lambda x: x.sum(axis=0, keepdims=True),
    max_rows=lambda x: x.max(axis=0, keepdims=True),
)
TORCH = Library(
    asarray=torch.tensor,
    cast=lambda x, dtype: x.to(getattr(torch, dtype)),
    reshape=torch.reshape,
    concat=lambda arrays: torch.cat(arrays, dim=1),
    tanh=torch.tanh,
    sum=torch.sum,
    sum_rows=lambda x: x.sum(dim=0, keepdim=True),
    max_rows=lambda x: x.amax(dim=0, keepdim=True),  # ties share the gradient, as TensorFlow's do
)
TENSORFLOW = Library(
    asarray=tf.constant,
    cast=tf.cast,
    reshape=tf.reshape,
    concat=lambda arrays: tf.concat(arrays, axis=1),
    tanh=tf.tanh,
    sum=tf.reduce_sum,
    sum_rows=lambda x: tf.reduce_sum(x, axis=0, keepdims=True),
    max_rows=lambda x: tf.reduce_max(x, axis=0, keepdims=True),
)


def ours(case, rnn=arrayrnn.rnn):
    """Give what arrayrnn makes of a case: on PyTorch if gradients are compared, else on NumPy."""
    xp = TORCH if case.gradients else NUMPY
    options = {
        name: respelled(option) if case.respelled else of_library(xp, option)
        for name, option in case.options.items()
    }
    variables = arguments(xp, case)
    wanted = floating(variables) if case.gradients else []
    for variable in wanted:
        variable.requires_grad_()
    results = call(rnn, xp, case, variables, options | {"samplewise": case.samplewise})
    assert type(results[2]) is list
    if not case.gradients:
        return results
    # Where every timestep is masked, nothing that the loss sees depends on the weights.
    total = loss(xp, case, results) + 0 * variables[2][0].sum()
    gradients = torch.autograd.grad(total, wanted, materialize_grads=True)
    return optree.tree_map(lambda x: x.detach().numpy(), (*results, gradients))


def reference(case):
    """Give what tf_keras makes of a case."""
    xp = TENSORFLOW
    options = {name: of_library(xp, option) for name, option in case.options.items()}
    # The promise that keeps NaN in the padding from our step is not known there: it computes with
    # what is masked, and a number is as good.
    inputs = optree.tree_map(lambda x: np.nan_to_num(x, nan=0.5), case.inputs)
    variables = arguments(xp, replace(case, inputs=inputs))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        wanted = floating(variables) if case.gradients else []
        tape.watch(wanted)
        inputs, states, weights = variables
        if case.first:
            inputs = optree.tree_map(partial(first_timesteps, case), inputs)
        if case.lifted:
            states = optree.tree_map(lambda x: x[..., None], states)
        results = call(tf_keras.backend.rnn, xp, case, (inputs, states, weights), options)
        results = (*results[:2], list(results[2]))
        if case.lifted:
            results = optree.tree_map(lambda x: x[..., 0], results)
        total = loss(xp, case, results) if case.gradients else None
    if case.gradients:
        zero = tf.UnconnectedGradients.ZERO
        results = (*results, tuple(tape.gradient(total, wanted, unconnected_gradients=zero)))
    return optree.tree_map(lambda x: x.numpy(), results)


def call(rnn, xp, case, variables, options):
    inputs, states, weights = variables
    constants = case.constants and case.constants((weights, CONSTANT))
    step = case.step(xp, None if constants else weights)
    return rnn(step, inputs, states, constants=constants, **options)


def arguments(xp, case):
    weights = [weight.astype(case.work_dtype) for weight in case.weights]
    return optree.tree_map(xp.asarray, (case.inputs, case.initial_states, weights))


def floating(nest):
    return [x for x in optree.tree_leaves(nest) if "float" in str(x.dtype)]


def loss(xp, case, results):
    """Weigh every number in the results at random."""
    rng = np.random.default_rng(case.seed)
    leaves = floating(results)
    return sum(xp.sum(x * xp.asarray(rng.standard_normal(tuple(x.shape)))) for x in leaves)


def first_timesteps(case, x):
    return x[: case.first] if case.options["time_major"] else x[:, : case.first]


def of_library(xp, option):
    return xp.asarray(option) if isinstance(option, np.ndarray) else option


def respelled(option):
    """Say the same with a nested list, or with an integer of NumPy's."""
    if isinstance(option, np.ndarray):
        return option.tolist()
    return np.int64(option) if type(option) is int else option
