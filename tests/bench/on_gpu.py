"""Time loops and linear recurrences on a GPU against what one would use, and print a table.

    python tests/bench/on_gpu.py [--rounds 20] [--device cpu] [--only linear] [--figures FILE]

All contenders of a step take turns, so that what else the machine does hits all of them; a time is
the median of the rounds, from the call to the moment at which the device is done. All multiply
matrices in full precision, which neither JAX nor cuDNN does by itself. ``--device cpu`` leaves CuPy
and CUDA graphs out, and is there for trying this file. ``--figures docs/performance/gpu.json``
writes a file of which the site makes a part of its page about performance.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import array_api_compat
import jax
import numpy as np
import torch

import figures
import recurrences
from arrayrnn import associative_scan, compiled, linear_scan, rnn
from recurrences import Pair, affine, numbers
from timing import seconds
from workloads import Workload, by_hand, lstm, small, traceable

Contender = Callable[[], object]


def of_torch(make: Callable[[Any], Workload], device: str) -> Workload:
    """Make a case of PyTorch with its arrays, the weights of the step included, on a device."""
    with torch.device(device):
        return make(import_module("array_api_compat.torch"))


def calls(case: Workload, wait: Callable[[], object]) -> Iterator[tuple[str, Contender]]:
    """Yield what runs a case of a library, and waits for the device."""
    library, waiting = name_of(case.xp), partial(waited, wait)
    yield f"by hand, {library}", waiting(partial(by_hand, case))
    yield f"rnn, {library}", waiting(partial(rnn, case.step, case.inputs, [*case.states]))
    arguments = case.inputs, [*case.states]
    yield f"compiled.rnn, {library}", waiting(partial(compiled.rnn, case.step, *arguments))


def waited(wait: Callable[[], object], call: Contender) -> Contender:
    """Return a call that ends when the device is done."""

    def run() -> object:
        result = call()
        wait()
        return result

    return run


def name_of(xp: Any) -> str:
    return xp.__name__.rpartition(".")[2]


def of_host(case: Workload) -> Workload:
    """Return a case whose step closes over weights of NumPy, which go into a program of JAX's."""
    make = {"small": small, "lstm": lstm}[case.name]
    return make(import_module("array_api_compat.numpy"))


def scanned(case: Workload, device: Any) -> tuple[str, Contender]:
    """Return ``lax.scan`` by hand on the same numbers, traced and compiled once."""
    step = traceable(of_host(case)).step
    inputs, *states = (
        jax.device_put(np.asarray(array.cpu()), device) for array in (case.inputs, *case.states)
    )

    @jax.jit
    def run(inputs: Any, states: Any) -> Any:
        def body(states: Any, x: Any) -> tuple[Any, Any]:
            y, states = step(x, states)
            return tuple(states), y

        states, outputs = jax.lax.scan(body, tuple(states), inputs.swapaxes(0, 1))
        return outputs.swapaxes(0, 1), states

    return "jax.jit(lax.scan)", lambda: jax.block_until_ready(run(inputs, states))


def captured(case: Workload) -> tuple[str, Contender]:
    """Return the eager loop on tensors as a CUDA graph, which is launched as a whole."""
    side = torch.cuda.Stream()
    run = partial(rnn, case.step, case.inputs, [*case.states])
    with torch.cuda.stream(side):
        for _ in range(3):  # what libraries do at their first calls cannot be captured
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return "CUDA graph of rnn, torch", lambda: (graph.replay(), torch.cuda.synchronize())


def layer(case: Workload, wait: Callable[[], object]) -> tuple[str, Contender]:
    """Return ``torch.nn.LSTM``, on CUDA cuDNN's, of the same sizes."""
    features, units = case.inputs.shape[-1], case.states[0].shape[-1]
    module = torch.nn.LSTM(features, units, batch_first=True, device=case.inputs.device)

    def run() -> object:
        result = module(case.inputs)
        wait()
        return result

    return "torch.nn.LSTM", run


def contenders(make: Callable[[Any], Workload], device: str) -> Iterator[tuple[str, Contender]]:
    is_gpu = device == "cuda"
    synchronize = torch.cuda.synchronize if is_gpu else lambda: None
    if is_gpu:
        cupy = import_module("cupy")
        yield from calls(
            make(import_module("array_api_compat.cupy")), cupy.cuda.Device().synchronize
        )
    case = of_torch(make, device)
    yield from calls(case, synchronize)
    if is_gpu:
        yield captured(case)
    yield scanned(case, jax.devices(device)[0])
    if case.name == "lstm":
        yield layer(case, synchronize)


def linear(device: str) -> Iterator[tuple[str, Contender]]:
    """Yield ways to run a linear recurrence, time first, in float32."""
    is_gpu = device == "cuda"
    a, b = (x.astype(np.float32) for x in numbers(np, 10_000, 4, 4))
    if is_gpu:
        cupy = import_module("cupy")
        yield from scans(cupy, (cupy.asarray(a), cupy.asarray(b)), cupy.cuda.Device().synchronize)
    tensors = torch.asarray(a, device=device), torch.asarray(b, device=device)
    yield from scans(torch, tensors, torch.cuda.synchronize if is_gpu else lambda: None)
    scan = jax.jit(partial(jax.lax.associative_scan, affine))
    arrays = jax.device_put((a, b), jax.devices(device)[0])
    yield "jax.jit(lax.associative_scan)", lambda: jax.block_until_ready(scan(arrays))


def scans(xp: Any, pair: Pair, wait: Callable[[], object]) -> Iterator[tuple[str, Contender]]:
    """Yield loops by hand, of which `linear_scan` on CuPy is to take a fiftieth, and scans."""
    waiting, library = partial(waited, wait), xp.__name__
    yield f"by hand, {library}", waiting(partial(recurrences.by_hand, xp, *pair))
    yield f"linear_scan, {library}", waiting(partial(linear_scan, *pair, axis=0))
    by_elements = partial(recurrences.combined_by_hand, xp, affine, *pair)
    yield f"combined by hand, {library}", waiting(by_elements)
    yield f"associative_scan, {library}", waiting(partial(associative_scan, affine, pair))


# By what they do: the number of timesteps, and the contenders on a device.
TABLES: dict[str, tuple[int, Callable[[str], Iterator[tuple[str, Contender]]]]] = {
    "small": (10_000, partial(contenders, small)),
    "lstm": (200, partial(contenders, lstm)),
    "linear": (10_000, linear),
}


OURS = ("rnn", "compiled.rnn", "CUDA graph of rnn", "linear_scan", "associative_scan")


def rows_of(step: str, steps: int, times: dict[str, list[float]]) -> Iterator[figures.Row]:
    """Yield what is ours against all that is not, the ratios those of calls of the same round."""
    ours, others = (
        [what for what in times if what.startswith(OURS) is is_ours] for is_ours in (True, False)
    )
    for one in ours:
        for other in others:
            of_both = zip(times[one], times[other], strict=True)
            ratios = [mine / theirs for mine, theirs in of_both]
            lower, middle, upper = quantiles(ratios)
            name = f"{other}  gpu  {step}  {one}, {steps:,} timesteps"
            medians = (1e3 * median(times[what]) for what in (one, other))
            yield figures.Row(
                "gpu", step, name, *medians, "ms", len(ratios), middle, quartiles=(lower, upper)
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", default=[*TABLES], nargs="+", choices=TABLES)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    versions = [f"{m.__name__} {m.__version__}" for m in (array_api_compat, jax, torch)]
    print(f"{name}; {', '.join(versions)}\n")
    print("| step | what | ms | µs a timestep |\n|---|---|---|---|")
    for step in options.only:
        steps, found = TABLES[step][0], dict(TABLES[step][1](options.device))
        times: dict[str, list[float]] = {what: [] for what in found}
        for call in found.values():
            call()  # compiles
        for _ in range(options.rounds):
            for what, call in found.items():
                times[what].append(seconds(call))
        for what, measured in times.items():
            took = median(measured)
            print(f"| {step} | {what} | {1e3 * took:.2f} | {1e6 * took / steps:.1f} |")
        if options.figures:
            rows = [row.as_dict(1) for row in rows_of(step, steps, times)]
            figures.write(options.figures, rows, device=name)


if __name__ == "__main__":
    torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad(), jax.default_matmul_precision("highest"):
        main()
