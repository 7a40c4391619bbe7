"""The Triton functions that every rule's kernels stand on: operations as IEEE has them, and sums in two phases."""

PRELUDE = '''\
import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def quotient(x, y):
    """x / y, correctly rounded."""
    if x.dtype == tl.float64 or y.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)


@triton.jit
def root(x):
    """The square root, correctly rounded."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit
def sign_of(x):
    """-1, 0 or 1; 0 for NaN."""
    return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)


@triton.jit
def larger(x, y):
    """The larger of two; NaN if either is."""
    return tl.where(x != x, x, tl.where(x > y, x, y))


@triton.jit
def smaller(x, y):
    """The smaller of two; NaN if either is."""
    return tl.where(x != x, x, tl.where(x < y, x, y))


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return quotient(tl.full([], 1.0, x.dtype), 1.0 + libdevice.exp(-x))


@triton.jit
def softplus(x):
    """log(1 + exp(x)), without overflow."""
    return tl.where(x > 0, x, 0.0) + libdevice.log1p(libdevice.exp(-tl.abs(x)))


@triton.jit
def dithered(x, place, step, seed):
    """float32 with random bits below those of bfloat16, a function of place, step and seed: rounding keeps the mean."""
    key = tl.load(step).to(tl.int64) * 0x9E3779B1 + tl.load(seed).to(tl.int64) * 0x85EBCA77
    z = place ^ key
    z = (z ^ (z >> 32)).to(tl.uint32)
    z = (z ^ (z >> 16)) * 0x7FEB352D
    z = (z ^ (z >> 15)) * 0x846CA68B
    noise = (z ^ (z >> 16)) & 0xFFFF
    bits = (x.to(tl.uint32, bitcast=True) + noise) & 0xFFFF0000
    return tl.where(tl.abs(x) < float("inf"), bits.to(tl.float32, bitcast=True), x)


@triton.jit
def joined(x, y, HOW: tl.constexpr):
    """Two partial results together: sums, the larger or the smaller ones."""
    if HOW == "sum":
        return x + y
    elif HOW == "amax":
        return larger(x, y)
    else:
        return smaller(x, y)


@triton.jit
def reduced(x, HOW: tl.constexpr, AXIS: tl.constexpr):
    """Partial results along an axis together, or along all of them."""
    if HOW == "sum":
        return tl.sum(x, AXIS)
    else:
        bad = tl.max((x != x).to(tl.int32), AXIS)
        found = tl.max(x, AXIS) if HOW == "amax" else tl.min(x, AXIS)
        return tl.where(bad != 0, float("nan"), found)


@triton.jit
def combine_lines(
    jobs, skip, HOW: tl.constexpr, START: tl.constexpr, A: tl.constexpr, LINES: tl.constexpr, PARTS: tl.constexpr
):
    """The second phase of reductions to rows and columns: a job adds up the parts of LINES neighbouring results.

    A job is (address of the parts, address of the results, results, parts, first result, entries of a mean or 1).
    """
    if tl.load(skip) != 0:
        return
    job = jobs + 6 * tl.program_id(0)
    source = tl.load(job).to(tl.pointer_type(A))
    results = tl.load(job + 2)
    parts = tl.load(job + 3)
    line = tl.load(job + 4) + tl.arange(0, LINES)
    inside = line < results
    total = tl.full([PARTS, LINES], START, A)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        there = (part < parts)[:, None] & inside[None, :]
        found = tl.load(source + part[:, None] * results + line[None, :], there, START)
        total = joined(total, found, HOW)
    entries = tl.load(job + 5).to(A)
    tl.store(tl.load(job + 1).to(tl.pointer_type(A)) + line, quotient(reduced(total, HOW, 0), entries), inside)


@triton.jit
def combine_all(jobs, skip, HOW: tl.constexpr, START: tl.constexpr, A: tl.constexpr, LINES: tl.constexpr):
    """The second phase of reductions to one value: a job adds up parts that stand a stride apart.

    A job is (address of the first part, address of the result, stride, parts, 0, entries of a mean or 1).
    """
    if tl.load(skip) != 0:
        return
    job = jobs + 6 * tl.program_id(0)
    source = tl.load(job).to(tl.pointer_type(A))
    stride = tl.load(job + 2)
    parts = tl.load(job + 3)
    total = tl.full([LINES], START, A)
    for first in range(0, parts, LINES):
        part = first + tl.arange(0, LINES)
        total = joined(total, tl.load(source + part * stride, part < parts, START), HOW)
    entries = tl.load(job + 5).to(A)
    tl.store(tl.load(job + 1).to(tl.pointer_type(A)), quotient(reduced(total, HOW, 0), entries))
'''
