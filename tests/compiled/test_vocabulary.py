"""What a compiled step may call: the standard's functions, and NumPy's and PyTorch's by name.

Each is run at all timesteps of a compiled call, and compared with the loop in Python in values,
shapes, dtypes and structure. A group is one program.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import optree
import pytest
from array_api_compat import array_namespace

from arrayrnn import compiled, rnn, scan
from support.backends import Backend, assert_same

pytest.importorskip("jax", reason="these tests are about programs that JAX compiles")


def names_of(text):
    return text.split()


# All of the standard, 2024.12, but what is about dtypes alone.
STANDARD = names_of(
    "abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 "
    "atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift "
    "bitwise_xor broadcast_arrays broadcast_to ceil clip concat conj copysign cos cosh "
    "count_nonzero cumulative_prod cumulative_sum diff divide empty empty_like equal exp "
    "expand_dims expm1 eye flip floor floor_divide from_dlpack full full_like greater "
    "greater_equal hypot imag isfinite isinf isnan less less_equal linspace log log10 log1p log2 "
    "logaddexp logical_and logical_not logical_or logical_xor matmul matrix_transpose max maximum "
    "mean meshgrid min minimum moveaxis multiply negative nextafter nonzero not_equal ones "
    "ones_like permute_dims positive pow prod real reciprocal remainder repeat reshape roll round "
    "searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum take "
    "take_along_axis tan tanh tensordot tile tril triu trunc unique_all unique_counts "
    "unique_inverse unique_values unstack var vecdot where zeros zeros_like linalg.cholesky "
    "linalg.cross linalg.det linalg.diagonal linalg.eigh linalg.eigvalsh linalg.inv linalg.matmul "
    "linalg.matrix_norm linalg.matrix_power linalg.matrix_rank linalg.matrix_transpose "
    "linalg.outer linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd linalg.svdvals "
    "linalg.tensordot linalg.trace linalg.vecdot linalg.vector_norm fft.fft fft.fftfreq fft.fftn "
    "fft.fftshift fft.hfft fft.ifft fft.ifftn fft.ifftshift fft.ihfft fft.irfft fft.irfftn "
    "fft.rfft fft.rfftfreq fft.rfftn"
)
ANY_SHAPE = {"nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values"}
FLOATING = names_of(
    "abs acos asin atan ceil cos cosh exp expm1 floor isfinite isinf isnan log log10 log1p log2 "
    "logical_not negative positive reciprocal round sign signbit sin sinh sqrt square tan tanh "
    "trunc asinh atanh"
)
OF_TWO = names_of(
    "add atan2 copysign divide equal floor_divide greater greater_equal hypot less less_equal "
    "logaddexp logical_and logical_or logical_xor maximum minimum multiply nextafter not_equal pow "
    "remainder subtract"
)
REDUCTIONS = names_of("all any argmax argmin max mean min prod std sum var")
# (xp, x, y, n): x and y are (4, 4), between 0 and 1; n is (4, 4), integers from 0 to 3.
MORE: dict[str, Callable[..., Any]] = {
    "acosh": lambda xp, x, y, n: xp.acosh(x + 1),
    "arange": lambda xp, x, y, n: xp.arange(4),
    "argsort": lambda xp, x, y, n: (xp.argsort(x), xp.argsort(x, axis=0, descending=True)),
    "asarray": lambda xp, x, y, n: (
        xp.asarray(x),
        xp.asarray([1.0, 2.0]),
        xp.asarray(n, dtype=x.dtype),
    ),
    "astype": lambda xp, x, y, n: (xp.astype(n, x.dtype), xp.astype(4 * x, xp.int32)),
    "bitwise_and": lambda xp, x, y, n: xp.bitwise_and(n, 1),
    "bitwise_invert": lambda xp, x, y, n: (xp.bitwise_invert(n), ~n, ~(x > y)),
    "bitwise_left_shift": lambda xp, x, y, n: xp.bitwise_left_shift(n, n),
    "bitwise_or": lambda xp, x, y, n: xp.bitwise_or(n, n + 1),
    "bitwise_right_shift": lambda xp, x, y, n: xp.bitwise_right_shift(n, n),
    "bitwise_xor": lambda xp, x, y, n: xp.bitwise_xor(n, 3),
    "broadcast_arrays": lambda xp, x, y, n: tuple(xp.broadcast_arrays(x, y[:1])),
    "broadcast_to": lambda xp, x, y, n: xp.broadcast_to(x[:1], (4, 4)),
    "clip": lambda xp, x, y, n: (xp.clip(x, 0.2, 0.5), xp.clip(x, y), xp.clip(n, max=2)),
    "concat": lambda xp, x, y, n: (xp.concat([x, y]), xp.concat((x, y), axis=1)),
    "conj": lambda xp, x, y, n: xp.conj(x + 1j * y),
    "cumulative_prod": lambda xp, x, y, n: xp.cumulative_prod(x, axis=1),
    "cumulative_sum": lambda xp, x, y, n: xp.cumulative_sum(x, axis=1, include_initial=True),
    "count_nonzero": lambda xp, x, y, n: (
        xp.count_nonzero(n, axis=0),
        x * xp.count_nonzero(n),  # NumPy's own is an int without an axis
    ),
    "diff": lambda xp, x, y, n: xp.diff(x, axis=0),
    "empty": lambda xp, x, y, n: 0 * xp.empty((4, 1), dtype=xp.int64),
    "empty_like": lambda xp, x, y, n: 0 * xp.empty_like(n),
    "expand_dims": lambda xp, x, y, n: xp.expand_dims(x, axis=1),
    "eye": lambda xp, x, y, n: xp.eye(4, k=1),
    "flip": lambda xp, x, y, n: (xp.flip(x), xp.flip(x, axis=1)),
    "from_dlpack": lambda xp, x, y, n: x * xp.from_dlpack(xp.asarray(ROW)),
    "full": lambda xp, x, y, n: (xp.full((4, 2), 3), xp.full((4,), True)),
    "full_like": lambda xp, x, y, n: xp.full_like(x, 3),
    "imag": lambda xp, x, y, n: xp.imag(x + 1j * y),
    "linspace": lambda xp, x, y, n: xp.linspace(0, 1, 4),
    "matmul": lambda xp, x, y, n: (xp.matmul(x, y), x @ y[0, :]),
    "matrix_transpose": lambda xp, x, y, n: (xp.matrix_transpose(x), x.mT, x.T),
    "meshgrid": lambda xp, x, y, n: tuple(xp.meshgrid(x[0, :], y[0, :], indexing="ij")),
    "moveaxis": lambda xp, x, y, n: xp.moveaxis(x, 0, 1),
    "ones": lambda xp, x, y, n: xp.ones((4, 4), dtype=x.dtype, device=x.device),
    "ones_like": lambda xp, x, y, n: xp.ones_like(n),
    "permute_dims": lambda xp, x, y, n: xp.permute_dims(x, (1, 0)),
    "real": lambda xp, x, y, n: xp.real(x + 1j * y),
    "repeat": lambda xp, x, y, n: xp.repeat(x, 2, axis=1),
    "reshape": lambda xp, x, y, n: (xp.reshape(x, (2, -1)), xp.reshape(x, (-1,))),
    "roll": lambda xp, x, y, n: xp.roll(x, 1, axis=0),
    "searchsorted": lambda xp, x, y, n: xp.searchsorted(xp.sort(x[0, :]), y[0, :]),
    "sort": lambda xp, x, y, n: (xp.sort(x), xp.sort(n, axis=0, descending=True)),
    "squeeze": lambda xp, x, y, n: xp.squeeze(x[:, None, :], axis=1),
    "stack": lambda xp, x, y, n: xp.stack([x, y], axis=1),
    "take": lambda xp, x, y, n: xp.take(x, n[0, :], axis=1),
    "take_along_axis": lambda xp, x, y, n: xp.take_along_axis(x, n, axis=1),
    "tensordot": lambda xp, x, y, n: xp.tensordot(x, y, axes=1),
    "tile": lambda xp, x, y, n: xp.tile(x, (1, 2)),
    "tril": lambda xp, x, y, n: xp.tril(x, k=-1),
    "triu": lambda xp, x, y, n: xp.triu(x),
    "unstack": lambda xp, x, y, n: tuple(xp.unstack(x, axis=1)),
    "vecdot": lambda xp, x, y, n: xp.vecdot(x, y),
    "where": lambda xp, x, y, n: (xp.where(x > y, x, y), xp.where(x > y, n, n + 1)),
    "zeros": lambda xp, x, y, n: (xp.zeros((4, 2)), xp.zeros(4, dtype=xp.bool)),
    "zeros_like": lambda xp, x, y, n: xp.zeros_like(x, dtype=xp.int32),
}
SOLVABLE: dict[str, Callable[..., Any]] = {
    "linalg.cholesky": lambda xp, a, x: xp.linalg.cholesky(a),
    "linalg.cross": lambda xp, a, x: xp.linalg.cross(a[:, :3], x[:, :3]),
    "linalg.det": lambda xp, a, x: xp.linalg.det(a),
    "linalg.diagonal": lambda xp, a, x: xp.linalg.diagonal(a),
    "linalg.eigh": lambda xp, a, x: xp.linalg.eigh(a)[0],
    "linalg.eigvalsh": lambda xp, a, x: xp.linalg.eigvalsh(a),
    "linalg.inv": lambda xp, a, x: xp.linalg.inv(a),
    "linalg.matmul": lambda xp, a, x: xp.linalg.matmul(a, x),
    "linalg.matrix_norm": lambda xp, a, x: xp.linalg.matrix_norm(a),
    "linalg.matrix_power": lambda xp, a, x: xp.linalg.matrix_power(a, 3),
    "linalg.matrix_rank": lambda xp, a, x: xp.linalg.matrix_rank(a),
    "linalg.matrix_transpose": lambda xp, a, x: xp.linalg.matrix_transpose(x),
    "linalg.outer": lambda xp, a, x: xp.linalg.outer(x[0, :], x[1, :]),
    "linalg.pinv": lambda xp, a, x: xp.linalg.pinv(a),
    "linalg.qr": lambda xp, a, x: xp.linalg.qr(a).R ** 2,  # the sign of a row is free
    "linalg.slogdet": lambda xp, a, x: tuple(xp.linalg.slogdet(a)),
    "linalg.solve": lambda xp, a, x: xp.linalg.solve(a, x),
    "linalg.svd": lambda xp, a, x: xp.linalg.svd(x, full_matrices=False)[1],
    "linalg.svdvals": lambda xp, a, x: xp.linalg.svdvals(x),
    "linalg.tensordot": lambda xp, a, x: xp.linalg.tensordot(a, x, axes=2),
    "linalg.trace": lambda xp, a, x: xp.linalg.trace(a),
    "linalg.vecdot": lambda xp, a, x: xp.linalg.vecdot(a, x),
    "linalg.vector_norm": lambda xp, a, x: xp.linalg.vector_norm(x, axis=1),
}
TRANSFORMS: dict[str, Callable[..., Any]] = {
    **{
        f"fft.{name}": lambda xp, x, z, name=name: getattr(xp.fft, name)(z)
        for name in names_of("fft fftn fftshift hfft ifft ifftn ifftshift irfft irfftn")
    },
    **{
        f"fft.{name}": lambda xp, x, z, name=name: getattr(xp.fft, name)(x)
        for name in ("ihfft", "rfft", "rfftn")
    },
    "fft.fftfreq": lambda xp, x, z: xp.fft.fftfreq(4),
    "fft.rfftfreq": lambda xp, x, z: xp.fft.rfftfreq(4),
}
# Tensors in their place, in tests of PyTorch.
TABLE, TENSOR, EYE = np.zeros((4, 4)), np.zeros(4), np.eye(4)
ROW = np.asarray([1.0, 2.0, 3.0, 4.0])


BY_NUMPYS_NAME: dict[str, Callable[..., Any]] = {
    "tanh": lambda x, y, n: np.tanh(x),
    "two": lambda x, y, n: np.maximum(np.arctan2(x, y), np.multiply(x, 0.5)),
    "absolute": lambda x, y, n: np.absolute(x - y),
    "true_divide": lambda x, y, n: np.true_divide(n, n + 1),
    "power": lambda x, y, n: np.power(x, 2) + np.float_power(x, 2),
    "invert": lambda x, y, n: np.invert(n),
    "concatenate": lambda x, y, n: (np.concatenate([x, y], axis=1), np.concatenate((x, y), 1)),
    "stack": lambda x, y, n: np.stack((x, y)) + np.stack([x, y]),
    "hstack": lambda x, y, n: np.hstack([x, y]),
    "split": lambda x, y, n: np.split(x, 2, axis=1),
    "array_split": lambda x, y, n: np.array_split(x, 3),
    "where": lambda x, y, n: np.where(x > y, x, 0.0),
    "clip": lambda x, y, n: (np.clip(x, 0.2, 0.7), np.clip(x, a_min=0.2, a_max=0.7)),
    "einsum": lambda x, y, n: np.einsum("ij,kj->ik", x, y),
    "matmul": lambda x, y, n: np.matmul(x, y) + np.dot(x, y),
    "sum": lambda x, y, n: (
        *(np.sum(x), np.sum(x, 1), np.sum(n, axis=0, keepdims=True), x.sum(1, where=x > y)),
        *(np.sum(x > y), np.average(x, axis=1, weights=y[0]), np.bitwise_count(n - 2)),
    ),
    "mean": lambda x, y, n: (np.mean(n), np.mean(x, axis=-1)),
    "max": lambda x, y, n: (np.max(x, axis=1), np.amin(x), np.argmax(x, axis=0)),
    "std": lambda x, y, n: (np.std(x, axis=1, ddof=1), np.var(x)),
    "transpose": lambda x, y, n: (np.transpose(x), np.swapaxes(x, 0, 1), np.moveaxis(x, 0, 1)),
    "reshape": lambda x, y, n: (np.reshape(x, (2, 8)), np.ravel(x), np.expand_dims(x, 0)),
    "cumsum": lambda x, y, n: (np.cumsum(x), np.cumsum(n, axis=1), np.cumprod(x, axis=0)),
    "take": lambda x, y, n: (np.take(x, n[0], axis=0), np.take_along_axis(x, n, axis=1)),
    "outer": lambda x, y, n: np.outer(x[0], y[0]),
    "roll": lambda x, y, n: (np.roll(x, 1), np.flip(x, 1), np.tile(x, 2), np.diff(x)),
    "sort": lambda x, y, n: (np.sort(x), np.argsort(x, 0, kind="stable"), np.median(x)),
    "logaddexp": lambda x, y, n: np.logaddexp(x, y),
    "norm": lambda x, y, n: (np.linalg.norm(x, axis=1), np.linalg.norm(n, axis=0), np.sinc(n)),
    "logic": lambda x, y, n: (np.logical_and(x > y, n > 1), np.isnan(x), np.sign(x - y)),
    "like": lambda x, y, n: (np.zeros_like(x), np.full_like(n, 2), np.ones_like(x)),
    "indices": lambda x, y, n: (x[[0, 2]], x[n[0]], x[..., 1:], x[-1], x[None, ::2], x[1, 2]),
    "numbers": lambda x, y, n: (x * np.count_nonzero(n), x * np.where(np.allclose(x, x), 1, 2)),
    "static": lambda x, y, n: x * (np.ndim(x) + np.shape(x)[0] + np.size(x)),
    "methods": lambda x, y, n: (
        *(x.sum(), x.sum(axis=1), x.mean(1), x.max(), n.min(axis=0), x.argmax(axis=1), x.std()),
        *(x.reshape(2, 8), x.reshape((8, 2)), x.reshape(-1), x.transpose(), x.transpose(1, 0)),
        *(x.T, x.astype("float32"), n.astype(float), x.copy(), x.ravel(), x.clip(0.2, 0.5)),
        *(x.dot(y), x.round(1), x.cumsum(axis=1), x.swapaxes(0, 1), (x > y).all(), x.squeeze()),
        *(x.prod(axis=0), x.conj(), x.repeat(2, axis=0), (x > 2).any(axis=1), x.trace(), x.var()),
        x.flatten(),
        x * (x.size + x.ndim + len(x) + x.shape[1]),
    ),
}
TORCH: dict[str, Callable[..., Any]] = {
    **{
        name: lambda t, x, y, n, name=name: getattr(t, name)(x)
        for name in names_of("sigmoid tanh relu exp log sqrt rsqrt abs neg sin cos square erf selu")
    },
    **{
        name: lambda t, x, y, n, name=name: getattr(t.nn.functional, name)(x - y)
        for name in names_of(
            "relu relu6 softplus silu gelu elu selu celu mish hardtanh hardsigmoid hardswish "
            "logsigmoid softsign tanhshrink leaky_relu sigmoid tanh"
        )
    },
    **{
        f"method {name}": lambda t, x, y, n, name=name: getattr(x, name)()
        for name in names_of(
            "sigmoid tanh relu exp log abs t sum mean prod max argmax all any clone "
            "contiguous detach float double half int long bool flatten std var cos sqrt "
            "square neg"
        )
    },
    "gelu, tanh": lambda t, x, y, n: t.nn.functional.gelu(x, approximate="tanh"),
    "softplus, beta": lambda t, x, y, n: t.nn.functional.softplus(40 * x, beta=2, threshold=10),
    "glu": lambda t, x, y, n: t.nn.functional.glu(x, dim=0),
    "softmax": lambda t, x, y, n: (
        t.softmax(x, 1),
        t.nn.functional.softmax(x, dim=-1),
        x.softmax(0),
    ),
    "log_softmax": lambda t, x, y, n: (t.log_softmax(x, dim=1), x.log_softmax(-1)),
    "logsumexp": lambda t, x, y, n: (t.logsumexp(x, 1), t.logsumexp(x, dim=(0, 1), keepdim=True)),
    "chunk": lambda t, x, y, n: (t.chunk(x, 3, dim=1), x.chunk(2), x.chunk(4, -1)),
    "split": lambda t, x, y, n: (t.split(x, 3), x.split([1, 3], dim=1), t.split(x, 2, 1)),
    "unbind": lambda t, x, y, n: (x.unbind(1), t.unbind(x)),
    "cat": lambda t, x, y, n: (t.cat([x, y]), t.cat((x, y), dim=1), t.concat([x, y], -1)),
    "stack": lambda t, x, y, n: (t.stack([x, y], dim=1), t.stack((x, y))),
    "where": lambda t, x, y, n: (t.where(x > y, x, y), t.where(x > y, x, 0.0)),
    "masked_fill": lambda t, x, y, n: x.masked_fill(x > y, 2.0),
    "clamp": lambda t, x, y, n: (t.clamp(x, 0.2, 0.7), x.clamp(min=0.3), t.clip(x, max=0.5)),
    "einsum": lambda t, x, y, n: (t.einsum("ij,kj->ik", x, y), t.einsum("ij,kj->ik", [x, y])),
    "products": lambda t, x, y, n: (
        *(t.matmul(x, y), t.mm(x, y), x.mm(y), t.mv(x, y[0]), t.dot(x[0], y[0]), x @ y[0]),
        *(t.bmm(x[None], y[None]), t.outer(x[0], y[0]), t.addmm(x, y, x, beta=2, alpha=0.5)),
    ),
    "linear": lambda t, x, y, n: (
        t.nn.functional.linear(x, y),
        t.nn.functional.linear(x, weight=y, bias=x[0]),
        t.nn.functional.linear(input=x, weight=y),
    ),
    "sum": lambda t, x, y, n: (
        *(t.sum(x), t.sum(x, 1), t.sum(x, dim=1, keepdim=True), x.sum(axis=0), x.sum((0, 1))),
        *(t.sum(n), x.sum(-1, True), t.sum(input=x, dim=0), x.sum(0, dtype=t.float32)),
    ),
    "mean": lambda t, x, y, n: (t.mean(x, 1), x.mean(dim=[0, 1]), x.mean(axis=1, keepdims=True)),
    "max": lambda t, x, y, n: (
        *(t.max(x), t.max(x, 1), x.max(dim=0, keepdim=True), t.max(x, y), x.min(1), t.min(x, y)),
        *(x.amax(1), t.amin(x, dim=(0, 1)), x.argmax(1), t.argmin(x, dim=0, keepdim=True)),
        *(x.max(dim=1).values, x.max(dim=1).indices, t.max(x, other=y)),
    ),
    "var": lambda t, x, y, n: (x.var(1), t.std(x, dim=0), x.var(dim=1, unbiased=False), x.std()),
    "cumsum": lambda t, x, y, n: (t.cumsum(x, 1), x.cumsum(dim=0), t.cumprod(x, dim=1)),
    "sort": lambda t, x, y, n: (
        *(t.sort(x), x.sort(dim=0, descending=True), t.topk(x, 2), x.topk(3, dim=0, largest=False)),
        *(t.sign(x - y), t.sign(t.log(-x))),
    ),
    "norms": lambda t, x, y, n: (
        *(t.linalg.norm(x), t.linalg.norm(x, dim=-1, keepdim=True), x.norm(), t.norm(x, dim=1)),
        *(t.linalg.vector_norm(x, dim=0), t.nn.functional.normalize(x, dim=-1)),
    ),
    "linalg": lambda t, x, y, n: (
        *(t.linalg.solve(x + 4 * EYE, y), t.linalg.inv(x + 4 * EYE), t.linalg.det(x)),
        *(t.linalg.solve_triangular(x.triu() + EYE, y, upper=True), t.tensordot(x, y, dims=1)),
        *(t.linalg.cholesky(x @ x.mT + EYE), t.linalg.eigvalsh(x @ x.mT)),
    ),
    "new": lambda t, x, y, n: (
        *(x.new_zeros(2, 3), x.new_ones((2,)), n.new_full((2, 2), 7)),
        t.nn.functional.one_hot(n, 5),
    ),
    "shapes": lambda t, x, y, n: (
        *(x.view(2, 8), x.view(-1), x.view((8, 2)), x.reshape(2, -1), t.reshape(x, (16,))),
        *(x.transpose(0, 1), t.transpose(x, -1, 0), x.permute(1, 0), t.permute(x, (1, 0)), x.T),
        *(x.unsqueeze(1), t.unsqueeze(x, -1), x[:, None].squeeze(1), x[None].squeeze(), x.mT),
        *(x[:1].expand(4, 4), x[:1].expand(4, -1), x[0].expand_as(y), x.repeat(1, 2), x.flip(0)),
        *(t.flip(x, (0, 1)), x.roll(1, 0), t.flatten(x), x.view_as(y), x.movedim(0, 1)),
        *(x.flatten(0, 1), x.swapaxes(0, 1), x.squeeze(1), x.diagonal(), x.tril(), t.triu(x, 1)),
        x * (x.size(0) + x.dim() + x.numel() + x.size()[1] + x.shape.numel()),
    ),
    "indices": lambda t, x, y, n: (
        *(t.gather(x, 1, n), x.gather(0, n[:2]), x.index_select(0, n[0]), x[n], x[:, n[0]]),
        *(t.nn.functional.embedding(n, y), TABLE[n], x[1], x[-1, 2:], x[..., 0], x[::2]),
    ),
    "dtypes": lambda t, x, y, n: (x.to(t.float32), x.to(dtype=t.int32), n.type_as(x), n.to(x)),
    "arithmetic": lambda t, x, y, n: (
        *(t.add(x, y), t.add(x, y, alpha=2), x.sub(y), x.sub(1, alpha=2), x.mul(y), t.mul(x, 2)),
        *(t.div(x, y), t.div(x, y, rounding_mode="floor"), x.pow(2), t.pow(2, x), x.lerp(y, 0.3)),
        *(t.addcmul(x, x, y, value=2), t.addcdiv(x, x, y + 1), t.fmod(x, y), t.remainder(n, 3)),
        *(x.eq(y), x.lt(0.5), t.ge(x, y), x.ne(y), t.maximum(x, y), t.logical_not(n), t.rsub(x, 1)),
        *(t.atan2(x, y), t.logaddexp(x, y), t.bitwise_and(n, 1), x.round(decimals=1), t.div(n, 2)),
    ),
    "to": lambda t, x, y, n: (x.to(x.device), x.to(x.device, t.float32), x.to(device=x.device)),
    "dropout": lambda t, x, y, n: t.nn.functional.dropout(x, 0.5, training=False),
    "attention": lambda t, x, y, n: (
        t.nn.functional.scaled_dot_product_attention(x[None], y[None], x[None]),
        t.nn.functional.scaled_dot_product_attention(x[None], y[None], x[None], n[None] > 0),
        t.nn.functional.scaled_dot_product_attention(x[None], y[None], x[None], is_causal=True),
    ),
    "modules": lambda t, x, y, n: t.nn.Sequential(
        *(t.nn.LayerNorm(4, device=x.device, dtype=x.dtype), t.nn.GELU(), t.nn.Softmax(dim=-1)),
        t.nn.Dropout().eval(),
    )(x),
    "layer_norm": lambda t, x, y, n: t.nn.functional.layer_norm(x, (4,), y[0], y[1]),
    "like": lambda t, x, y, n: (
        t.zeros_like(x),
        t.ones_like(n),
        TENSOR + t.ones(4, device=x.device),
    ),
}


TORCH_SHAPES = {
    name: TORCH[name] for name in ("shapes", "chunk", "split", "unbind", "dtypes", "to")
}
TORCH_SHAPES |= {
    "others": lambda t, x, y, n: (
        *(x.conj(), t.positive(x), x.moveaxis(0, 1), t.swapdims(x, 0, 1), x.contiguous()),
        *(x.double(), x.detach(), t.nn.functional.dropout(x, training=False), x.real, n.long()),
    )
}


@pytest.fixture(autouse=True)
def compiled_only(backend):
    if not backend.is_compiled:
        pytest.skip("these tests are about what compiled steps call")
    compiled.cache_clear()


def drawn() -> tuple[np.ndarray, ...]:
    """Return (3, 4, 4) numbers between 0 and 1, twice, and integers from 0 to 3."""
    rng = np.random.default_rng(0)
    return rng.random((3, 4, 4)), rng.random((3, 4, 4)), rng.integers(0, 4, (3, 4, 4))


def assert_as_eager(backend: Backend, functions: dict[str, Any], *arrays: np.ndarray) -> None:
    """Compare a step that calls all `functions` on each timestep of `arrays` with the loop."""

    def step(carry, x):
        return carry, {name: function(*x) for name, function in functions.items()}

    xs = tuple(map(backend.array, arrays))
    found, wanted = (run(step, [], xs)[1] for run in (compiled.scan, scan))
    for name in functions:
        assert_same(
            backend, {name: found[name]}, optree.tree_map(backend.numpy, {name: wanted[name]})
        )
    assert compiled.cache_info().misses == 1


def of_namespace(functions):
    return {
        name: lambda *x, function=function: function(array_namespace(x[0]), *x)
        for name, function in functions.items()
    }


def named(names, *arguments):
    """Return functions of the standard that take arguments from x, y and n by their places."""
    return {
        name: lambda xp, *x, name=name: getattr(xp, name)(*(x[k] for k in arguments))
        for name in names
    }


ELEMENTWISE = named(FLOATING, 0) | named(OF_TWO, 0, 1) | named(REDUCTIONS, 0)


def test_functions_of_the_standard(backend):
    known = ELEMENTWISE | MORE | SOLVABLE | TRANSFORMS
    assert known.keys() | ANY_SHAPE == {*STANDARD}
    assert_as_eager(backend, of_namespace(ELEMENTWISE), *drawn())


def test_functions_of_the_standard_on_integers(backend):
    x, y, n = drawn()
    names = [
        n
        for n in FLOATING
        if n not in ("acos", "asin", "atanh", "log", "log10", "log2", "reciprocal")
    ]
    two = [
        n for n in OF_TWO if n not in ("pow", "copysign", "nextafter", "remainder", "floor_divide")
    ]
    functions = named(names, 2) | named(two, 2, 2) | named(REDUCTIONS, 2)
    if backend.library == "torch":
        for name in ("hypot", "logaddexp", "mean", "std", "var"):  # which it has not
            del functions[name]
    assert_as_eager(backend, of_namespace(functions), x, y, n + 1)


def test_functions_of_the_standard_that_are_given_more(backend):
    assert_as_eager(backend, of_namespace(MORE), *drawn())


def test_linear_algebra(backend):
    x, y, _ = drawn()
    a = x @ np.swapaxes(x, 1, 2) + np.eye(4)
    assert_as_eager(backend, of_namespace(SOLVABLE), a, y)


def test_fourier_transforms(backend):
    x, y, _ = drawn()
    assert_as_eager(backend, of_namespace(TRANSFORMS), x, x + 1j * y)


def test_functions_whose_result_depends_on_values_in_shape(backend):
    x = backend.array(drawn()[0])
    for name in ANY_SHAPE:
        with pytest.raises(TypeError, match=rf"shape depends on values, by `{name}`"):
            compiled.scan(lambda c, x, f=name: (c, getattr(array_namespace(x), f)(x)), [], x)
    with pytest.raises(
        TypeError, match=r"shape depends on values, by `getitem`.*`where\(condition"
    ):
        compiled.scan(lambda c, x: (c, x[x > 0]), [], x)


def test_functions_of_numpy_by_name(backend):
    if backend.library == "torch":
        pytest.skip("PyTorch's tensors are not given to functions of NumPy")
    assert_as_eager(backend, BY_NUMPYS_NAME, *drawn())


def test_ufuncs_of_scipy(backend):
    special = pytest.importorskip("scipy.special")
    if backend.library != "numpy":
        pytest.skip("SciPy's ufuncs take arrays of NumPy")
    functions = {
        name: getattr(special, name) for name in ("expit", "logit", "erf", "gammaln", "ndtr")
    }
    assert_as_eager(backend, functions, drawn()[0])


@pytest.fixture
def torch(backend):
    if backend.library != "torch":
        pytest.skip("these tests are about functions of PyTorch")
    return backend.module


def test_functions_and_methods_of_pytorch_by_name(backend, torch, monkeypatch):
    monkeypatch.setitem(globals(), "EYE", backend.array(np.eye(4)))
    for name, shape in (("TABLE", (4, 4)), ("TENSOR", (4,))):
        table = np.arange(np.prod(shape), dtype="float64").reshape(shape)
        monkeypatch.setitem(globals(), name, backend.array(table))
    functions = {
        name: lambda *x, function=function: function(torch, *x) for name, function in TORCH.items()
    }
    assert_as_eager(backend, functions, *drawn())


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells_of_pytorch(name, backend, torch):
    torch.manual_seed(0)
    cell = getattr(torch.nn, name)(4, 3).to(torch.float64).to(backend.device)

    def step(x_t, states):
        new = cell(x_t, tuple(states) if name == "LSTMCell" else states[0])
        return (new[0], [*new]) if name == "LSTMCell" else (new, [new])

    x, h = backend.array(drawn()[0]), backend.array(np.zeros((3, 3)))
    states = [h, h] if name == "LSTMCell" else [h]
    (found, one), (wanted, other) = (
        (y := run(step, x, states)[1], torch.autograd.grad(y.sum(), [*cell.parameters()]))
        for run in (compiled.rnn, rnn)
    )
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(one, other)


# ---------------------------------------------------------------------------------- memory


def memory(backend, array):
    """Return where the memory begins that an array looks at."""
    if backend.library == "torch":
        return array.untyped_storage().data_ptr()
    while array.base is not None:
        array = array.base
    return array.ctypes.data


def test_what_shares_memory_in_the_library_is_never_taken_for_new(backend):
    """Or a step could write into one of the two, and the other would not change."""
    if backend.library not in ("numpy", "torch"):
        pytest.skip("it asks NumPy and PyTorch for addresses")
    functions = of_namespace(ELEMENTWISE | MORE)
    functions |= {
        "asarray of its own dtype": lambda x, y, n: array_namespace(x).asarray(x, dtype=x.dtype),
        "plus": lambda x, y, n: +x,
        "real": lambda x, y, n: x.real,
        "T": lambda x, y, n: (x.T, x.mT, x[0], x[:, 1:], x[None]),
    }
    if backend.library == "torch":
        torch = backend.module
        functions |= {name: lambda *a, f=f: f(torch, *a) for name, f in TORCH_SHAPES.items()}
    else:
        functions |= {f"np {name}": f for name, f in BY_NUMPYS_NAME.items()}
    arrays = tuple(backend.array(array[0]) for array in drawn())
    shared = {}

    def f(carry, x):
        for name, function in functions.items():
            given = [1 * y for y in x]
            leaves = optree.tree_leaves(function(*given))
            shared[name] = [
                getattr(leaf, "is_shared", True) or any(leaf is y for y in given) for leaf in leaves
            ]
        return carry, x[0]

    compiled.scan(f, [], tuple(backend.array(array) for array in drawn()))
    found = 0
    for name, function in functions.items():
        addresses = {memory(backend, array) for array in arrays}
        leaves = optree.tree_leaves(function(*arrays))
        for leaf, is_shared in zip(leaves, shared[name], strict=True):
            is_array = hasattr(leaf, "untyped_storage") or isinstance(leaf, np.ndarray)
            if is_array and memory(backend, leaf) in addresses:
                found += 1
                assert is_shared, name
    assert found > 20


# ---------------------------------------------------------------------------------- dtypes

DTYPES = ("bool", "int8", "uint8", "int32", "int64", "float32", "float64", "complex64")
ARITHMETIC = {
    "add": operator.add,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "less": operator.lt,
    "equal": operator.eq,
}


def test_dtypes_are_the_librarys_whatever_meets(backend):
    """Each dtype with each, and with numbers of Python; all compute in the library's dtype."""
    values = np.asarray([[1, 0, 1], [1, 1, 0]])
    xs = {name: backend.array(values.astype(name)) for name in DTYPES}
    others = {**dict.fromkeys(DTYPES), "1": 1, "1.5": 1.5, "2j": 2j, "True": True}

    def results(x):
        found = {}
        for one in DTYPES:
            for other, number in others.items():
                for name, function in ARITHMETIC.items():
                    if (name == "less" and "complex64" in (one, other)) or (name, other) == (
                        "less",
                        "2j",
                    ):
                        continue
                    found[one, name, other] = function(
                        x[one], x[other] if number is None else number
                    )
        return found

    with np.errstate(all="ignore"):  # of NumPy, which divides by zeros
        found, wanted = (
            run(lambda c, x: (c, results(x)), [], xs)[1] for run in (compiled.scan, scan)
        )
    for key, one in found.items():
        assert one.dtype == wanted[key].dtype, key
        np.testing.assert_array_equal(backend.numpy(one), backend.numpy(wanted[key]), str(key))


def test_integers_and_floats_compute_in_as_many_bits_as_in_the_library(backend):
    n = backend.array(np.asarray([[2**24 + 1]]))
    half = backend.array(np.ones((1, 1)), "float32")

    def f(carry, x):
        xp = array_namespace(x[0])
        return carry, (x[0] * x[1], x[0] / 3, xp.exp(x[0] / 2**22), x[0] < x[1])

    found, wanted = (run(f, [], (n, half))[1] for run in (compiled.scan, scan))
    assert_same(backend, found, optree.tree_map(backend.numpy, wanted))


def test_the_default_dtype_of_pytorch_counts(torch, backend):
    x = torch.ones(2, 1, dtype=torch.int32)
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            _, y = compiled.scan(lambda c, x: (c, x / 3), [], x)
        finally:
            torch.set_default_dtype(torch.float32)
        assert y.dtype == dtype
