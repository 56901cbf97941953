"""Two programs side by side: do they agree, how long, how much memory, how long to compile.

Times are ratios hand / reference of pairs that run one right after the other, the order
changing from pair to pair: whatever slows the machine down slows both. The median of the
ratios is reported with their quartiles, never a ratio of two separate medians.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.case import Case
from benchmarks.flops import products


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    seconds: float = 2.0  # of pairs for each row
    least: int = 7  # pairs
    most: int = 301
    sample: float = 2e-3  # seconds; shorter programs run several times per sample
    compiles: int = 3


QUICK = Effort(seconds=0.1, least=3, most=5, sample=2e-4, compiles=1)


class Result(NamedTuple):
    """One row: ratios are hand / reference."""

    name: str
    time: float  # the median
    low: float  # the quartiles
    high: float
    memory: float  # temporary buffers; 1 where neither has any
    flops: float
    compile: float
    error: float  # largest difference of the results, relative to their largest entry
    pairs: int
    microseconds: float  # of the hand-written one, to know what size of thing this is
    bytes: tuple[int, int]  # temporary buffers of both
    peak: int = 0  # bytes of the hand-written one: arguments, temporaries and results
    products: int | None = None  # FLOPs of the products of plain autodiff, where they are counted


def compare(case: Case, effort: Effort = Effort()) -> Result:
    """Measure a case; an AssertionError if the two results differ."""
    pair = case.build()
    both, args = pair[:2], pair.args
    programs, first = zip(*(compiled(f, args) for f in both), strict=True)
    error = difference(case, *[program(*args) for program in programs])
    memory = [temporary_bytes(program) for program in programs]
    flops = [(program.cost_analysis() or {}).get("flops", 0.0) for program in programs]
    seconds, ratios = pairs(list(programs), args, effort)
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return Result(
        name=case.name, time=middle, low=low, high=high, memory=ratio(*memory),
        flops=ratio(*flops), compile=compile_ratio(both, args, first, effort.compiles),
        error=error, pairs=len(ratios), microseconds=1e6 * seconds, bytes=(memory[0], memory[1]),
        peak=peak(programs[0]), products=products(pair.counted, *args) if pair.counted else None,
    )  # fmt: skip


def temporary_bytes(program: Any) -> int:
    """What XLA allocates for temporaries, beside arguments and results."""
    return program.memory_analysis().temp_size_in_bytes


def peak(program: Any) -> int:
    """Bytes of arguments, temporaries and results, those once that stand in one place."""
    m = program.memory_analysis()
    sizes = m.argument_size_in_bytes + m.temp_size_in_bytes + m.output_size_in_bytes
    return sizes - m.alias_size_in_bytes


def difference(case: Case, hand: Any, reference: Any) -> float:
    """The largest difference, relative; an AssertionError if it is above tolerance."""
    a, b = jax.tree.leaves(hand), jax.tree.leaves(reference)
    assert [x.shape for x in a] == [x.shape for x in b], f"{case.name}: unlike results"
    scale = 1e-30 + max(float(np.abs(np.asarray(x, np.float64)).max()) for x in b)
    error = max(
        float(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max())
        for x, y in zip(a, b, strict=True)
    )
    assert error <= case.tolerance * scale, (
        f"{case.name}: the gradients differ by {error / scale:.1e}, more than "
        f"{case.tolerance:.0e}; a comparison of their speed would mean nothing."
    )
    return error / scale


def pairs(programs: list[Any], args: tuple[Any, ...], effort: Effort) -> tuple[float, Any]:
    """Seconds of one run of the first program, and the ratios first / second."""
    seconds = times(programs, args, effort)
    return float(np.median(seconds[:, 0])), seconds[:, 0] / seconds[:, 1]


def times(programs: list[Any], args: tuple[Any, ...], effort: Effort) -> np.ndarray:
    """Seconds of every run, a row per round, a column per program."""

    def sample(program: Any, calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(program(*args))
        return (time.perf_counter() - start) / calls

    once = max(min(sample(p, 1) for _ in range(3)) for p in programs)
    calls = max(1, round(effort.sample / once))
    n = int(np.clip(effort.seconds / (len(programs) * calls * once), effort.least, effort.most))
    seconds, forward = np.empty((n, len(programs))), range(len(programs))
    for i in range(n):
        for j in forward if i % 2 == 0 else reversed(forward):
            seconds[i, j] = sample(programs[j], calls)
    return seconds


def compile_ratio(
    both: Sequence[Callable[..., Any]], args: Any, first: Sequence[float], n: int
) -> float:
    """Time to trace and compile from empty caches, the median of n pairs; the first is known."""
    ratios, (hand, reference) = [first[0] / first[1]], both
    for i in range(1, n):
        if i % 2 == 0:
            ratios.append(compile_seconds(hand, args) / compile_seconds(reference, args))
        else:
            ratios.append(1 / (compile_seconds(reference, args) / compile_seconds(hand, args)))
    return float(np.median(ratios))


def compile_seconds(f: Callable[..., Any], args: Any) -> float:
    """Of tracing and compiling from empty caches."""
    return compiled(f, args)[1]


def compiled(f: Callable[..., Any], args: Any) -> tuple[Any, float]:
    """The program, and the seconds of tracing and compiling it from empty caches."""
    jax.clear_caches()
    start = time.perf_counter()
    program = jax.jit(f).lower(*args).compile()
    return program, time.perf_counter() - start


def ratio(a: float, b: float) -> float:
    """a / b, of whole bytes or operations: where there are none, as if there were one."""
    return max(a, 1) / max(b, 1)
