"""The peak memory of a program, estimated from its jaxpr by a simulation of what XLA does with it.

The simulation runs through the program with the set of live arrays. The order is the one in which XLA leaves a program
that it has no reason to reorder: post-order from the results, each operation after the ones that it reads. In a layer's
backward pass the gradient of the layer's input is the first result and those of weights come after it, so the arrays
that these are computed from stay alive until then.

XLA fuses an elementwise operation into its readers. The result of such an operation therefore takes memory only if

- a product, a loop, a sort or the like reads it, which needs its input whole;
- it is a result of the program or of a loop's turn;
- it is expensive to compute (`exp`, a division) and read more than once, so that XLA would not compute it twice.

Elementwise results of the same arrays are computed by one kernel, all at once. Such a kernel often also has a
reduction, and does not write into its input, which stays alive here until the last of the results would have been
computed. Products, loops, reductions, gathers and updates always allocate their result; a product whose factors have
two types also allocates a copy of the narrower one in the other's type. An array is freed after its last reader; unless
that is a product, the reader's result reuses the memory if it has the same size. A loop needs the memory of one turn,
in addition to what it carries and stacks. The arrays that it stacks are first filled with zeros, and XLA fills all such
arrays of one shape at once, before the first loop that has one.

`experiments/benchmarks/plan.md` compares the estimate with XLA's compilers for accelerators on the same steps;
`python tools/bench/plan.py --compile` repeats the comparison.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from mmvideo.cost_model.flops import called, carried_range

WHOLE = frozenset(
    "dot_general ragged_dot_general conv_general_dilated scan while cond sort top_k cumsum shard_map pallas_call "
    "custom_call random_bits".split()
)
"""Operations that read and write whole arrays: nothing is fused into them, and they into nothing."""

MAKING = WHOLE | frozenset(
    "gather scatter scatter-add dynamic_update_slice concatenate reduce_sum reduce_max reduce_min reduce_prod "
    "reduce_and reduce_or argmax argmin device_put".split()
)
"""Operations that allocate their result, though their inputs may be fused into them."""

DEAR = frozenset("exp exp2 log log1p expm1 tanh erf rsqrt sqrt div pow logistic sin cos".split())
"""Elementwise operations that are not recomputed for each reader."""

NOTHING = frozenset(
    "reshape squeeze expand_dims stop_gradient optimization_barrier copy sharding_constraint name".split()
)
"""Operations that only rename the same elements."""

IN_PLACE = frozenset("dynamic_update_slice scatter scatter-add scan while".split())
"""Operations that may write into an input that has no later reader."""

APART = frozenset(("scan", "while", "cond", "shard_map", "pallas_call"))
"""Operations whose inner programs are not inlined into the outer one."""


@dataclasses.dataclass(frozen=True)
class _Line:
    """An operation of a flat program: its equation, and the indices of the arrays that it reads and makes."""

    equation: Any
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the operation."""
        return self.equation.primitive.name


@dataclasses.dataclass
class _Program:
    """A jaxpr with its calls inlined.

    Attributes:
      shapes: JAX's abstract value of each array, by index.
      given: arrays that exist before the program, constants and literals included.
      lines: the operations.
      results: arrays that the program returns.
    """

    shapes: list[Any]
    given: set[int]
    lines: list[_Line]
    results: list[int]

    def number(self, aval: Any, given: bool = False) -> int:
        """Return the index of a new array."""
        self.shapes.append(aval)
        if given:
            self.given.add(len(self.shapes) - 1)
        return len(self.shapes) - 1


def peak_bytes(program: Callable[..., Any], *arguments: Any, shares: Sequence[float] | None = None) -> int:
    """Return the most bytes that `program(*arguments)` holds at once in addition to its arguments; results count.

    Args:
      program: a function that JAX can trace.
      arguments: trees of arrays or of `jax.ShapeDtypeStruct`.
      shares: for each leaf of the results, the share of it that a device holds; None: all of it.
    """
    return peak_of(jax.make_jaxpr(program)(*arguments).jaxpr, shares)


def peak_of(jaxpr: Any, shares: Sequence[float] | None = None) -> int:
    """Return the same for a jaxpr."""
    flat = _flat(jaxpr)
    sources, made = _sources(flat)
    size = [array_bytes(shape) for shape in flat.shapes]
    for result, share in zip(flat.results, shares or (), strict=False):
        for array in sources[result] & made:
            size[array] = math.ceil(size[array] * share)
    return _rehearse(flat, sources, made, size)


def array_bytes(shape: Any) -> int:
    """Return the bytes of an array in a device's memory; it may be abstract."""
    if not hasattr(shape, "dtype") or getattr(shape, "memory_space", None) == jax.memory.Space.Host:
        return 0
    # A random key has no itemsize; it is two words of 32 bits.
    key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
    return math.prod(shape.shape) * (8 if key else np.dtype(shape.dtype).itemsize)


def _flat(jaxpr: Any) -> _Program:
    """Return the program with its calls inlined, and without operations that nothing reads."""
    flat = _Program([], set(), [], [])
    numbers = {variable: flat.number(variable.aval, given=True) for variable in jaxpr.invars}
    _write_out(jaxpr, numbers, flat)
    flat.results = [_number_of(atom, numbers, flat) for atom in jaxpr.outvars]
    # Backwards: an operation is needed if one of its results is, and then so are the arrays that it reads.
    needed, kept = set(flat.results), []
    for line in reversed(flat.lines):
        if needed & set(line.makes):
            kept.append(line)
            needed |= set(line.reads)
    flat.lines = _from_results(flat, kept[::-1])
    return flat


def _from_results(flat: _Program, lines: list[_Line]) -> list[_Line]:
    """Return the lines in post-order: result by result, each line directly after the lines that it needs."""
    # Example: `c = f(a)`, `d = g(b)`, and the result `r = h(d, c)`: the order f, g, h becomes g, f, h.
    maker = {array: number for number, line in enumerate(lines) for array in line.makes}
    seen: set[int] = set()
    order: list[_Line] = []
    stack: list[tuple[int, Iterator[int]]] = []

    def enter(array: int) -> None:
        if array in maker and maker[array] not in seen:
            seen.add(maker[array])
            stack.append((maker[array], iter(lines[maker[array]].reads)))

    for result in flat.results:
        enter(result)
        while stack:
            number, reads = stack[-1]
            array = next(reads, None)
            if array is None:
                order.append(lines[number])
                stack.pop()
            else:
                enter(array)
    return order


def _write_out(jaxpr: Any, numbers: dict[Any, int], flat: _Program) -> None:
    """Append the equations of a jaxpr whose inputs have indices, with calls inlined."""
    for variable in jaxpr.constvars:
        numbers.setdefault(variable, flat.number(variable.aval, given=True))
    for equation in jaxpr.eqns:
        reads = [_number_of(atom, numbers, flat) for atom in equation.invars]
        inner = None if equation.primitive.name in APART else called(equation)
        if inner is not None:
            own = dict(zip(inner.invars, reads, strict=True))
            _write_out(inner, own, flat)
            made = [_number_of(atom, own, flat) for atom in inner.outvars]
        else:
            made = [flat.number(variable.aval) for variable in equation.outvars]
            flat.lines.append(_Line(equation, tuple(reads), tuple(made)))
        numbers |= dict(zip(equation.outvars, made, strict=True))


def _number_of(atom: Any, numbers: dict[Any, int], flat: _Program) -> int:
    """Return the index of a variable; a literal counts as given, and so takes no memory."""
    return flat.number(atom.aval, given=True) if isinstance(atom, core.Literal) else numbers[atom]


def _sources(flat: _Program) -> tuple[dict[int, frozenset[int]], set[int]]:
    """Return the allocated arrays that each array is computed from (itself if it is one), and all allocated ones."""
    readers = defaultdict(list)
    for line in flat.lines:
        for array in set(line.reads):
            readers[array].append(line)
    # Example: `y = a + 1`, `z = y * 2`, `p = z @ w`. z is read by a product, so it is allocated: sources[z] = {z}. y is
    # fused into z: sources[y] = {a}, so a must stay until z has been computed.
    results, made = set(flat.results), set()
    sources = {array: frozenset((array,)) for array in flat.given}
    for line in flat.lines:
        below = frozenset().union(*(sources[array] for array in line.reads))
        for array in line.makes:
            if _is_array(line, array, below - flat.given, results, readers):
                made.add(array)
                sources[array] = frozenset((array,))
            else:
                sources[array] = below
    return sources, made


def _is_array(line: _Line, array: int, below: frozenset[int], results: set[int], readers: Any) -> bool:
    """Return whether a result is allocated; `below` are the program's own arrays that it is computed from."""
    if line.name in MAKING:
        return True
    if line.name in NOTHING or (line.name == "transpose" and array in results):
        # A transposed result costs nothing: XLA writes it in that order.
        return array in results and not below
    if array in results or any(reader.name in WHOLE for reader in _readers(array, readers)):
        # A broadcast scalar is expanded where it is read.
        return not (line.name == "broadcast_in_dim" and not below and array not in results)
    return line.name in DEAR and len(readers[array]) > 1


def _readers(array: int, readers: Any) -> Iterator[_Line]:
    """Yield the operations that read an array, under any name; products read through transpositions."""
    for line in readers[array]:
        if line.name in NOTHING or line.name == "transpose":
            for other in line.makes:
                yield from _readers(other, readers)
        else:
            yield line


def _rehearse(flat: _Program, sources: dict[int, frozenset[int]], made: set[int], size: list[int]) -> int:
    """Return the peak of a run through the lines with the set of live arrays."""
    touched = [_touched(line, sources, made) for line in flat.lines]
    # Index of the last line that reads each array; results are read after the end.
    last = {array: number for number, arrays in enumerate(touched) for array in arrays}
    last |= {array: len(flat.lines) for result in flat.results for array in sources[result]}
    early = _filled_early(flat, made)
    for number, arrays in _siblings(flat, made, touched).items():
        early[number] = early.get(number, []) + arrays
    alive: set[int] = set()
    live = most = 0
    for number, line in enumerate(flat.lines):
        new = [array for array in line.makes if array in made and array not in alive]
        ahead = [array for array in early.get(number, ()) if array not in alive]
        if not set(line.makes) & made:
            continue
        dying = {array for array in touched[number] & alive if last[array] == number}
        # Inputs that die here are still alive while the line runs, unless its result reuses their memory.
        needed = sum(size[array] for array in (*new, *ahead)) + _beside(line) - _reused(line, new, dying, size)
        most = max(most, live + needed)
        coming = {array for array in (*new, *ahead) if array in last}
        alive = (alive | coming) - dying
        live += sum(size[array] for array in coming) - sum(size[array] for array in dying)
    return most


def _filled_early(flat: _Program, made: set[int]) -> dict[int, list[int]]:
    """Return for the first loop that stacks an array of some shape those of the same shape that later loops stack."""
    first: dict[tuple[Any, ...], int] = {}
    early = defaultdict(list)
    for number, line in enumerate(flat.lines):
        if line.name != "scan":
            continue
        first_carried, last_carried = carried_range(line.equation.params)
        for array in line.makes[last_carried - first_carried :]:
            shape = flat.shapes[array]
            if array in made and first.setdefault((shape.shape, shape.dtype), number) < number:
                early[first[shape.shape, shape.dtype]].append(array)
    return early


def _siblings(flat: _Program, made: set[int], touched: list[frozenset[int]]) -> dict[int, list[int]]:
    """Return for an elementwise operation the later results that the same kernel computes from the same arrays."""
    # Example: `y = a * 2` at line 3 and `z = a * 5` at line 7, of one size: z is allocated at line 3, if all that it
    # reads exists by then (`ready`).
    maker = {array: number for number, line in enumerate(flat.lines) for array in line.makes}
    ready = [max((maker.get(array, -1) for array in arrays), default=-1) for arrays in touched]
    readers = defaultdict(list)
    for number, line in enumerate(flat.lines):
        if line.name not in MAKING and made & set(line.makes):
            for array in touched[number]:
                readers[array].append(number)
    found: dict[int, list[int]] = {}
    claimed: set[int] = set()
    for numbers in readers.values():
        for index, first in enumerate(numbers):
            if first in claimed:
                continue
            elements = math.prod(flat.shapes[flat.lines[first].makes[0]].shape)
            for later in numbers[index + 1 :]:
                array = flat.lines[later].makes[0]
                if later not in claimed and ready[later] < first and math.prod(flat.shapes[array].shape) == elements:
                    claimed.add(later)
                    found.setdefault(first, []).append(array)
    return found


def _touched(line: _Line, sources: dict[int, frozenset[int]], made: set[int]) -> frozenset[int]:
    """Return the allocated arrays that are read when a line runs; fused operations run with their readers."""
    if not made & set(line.makes):
        return frozenset()
    return frozenset().union(*(sources[array] for array in line.reads))


def _beside(line: _Line) -> int:
    """Return the bytes that an operation needs in addition: one turn of a loop, or the larger branch."""
    parameters = line.equation.params
    if line.name == "scan":
        return peak_of(parameters["jaxpr"].jaxpr)
    if line.name == "while":
        return peak_of(parameters["body_jaxpr"].jaxpr)
    if line.name == "cond":
        return max(peak_of(branch.jaxpr) for branch in parameters["branches"])
    if line.name == "shard_map":
        return peak_of(parameters["jaxpr"])
    return _widened(line) if line.name == "dot_general" else 0


def _widened(line: _Line) -> int:
    """Return the bytes of the copy of a product's factor that is narrower than the other."""
    factors = [atom.aval for atom in line.equation.invars]
    width = max(factor.dtype.itemsize for factor in factors)
    return sum(width * math.prod(factor.shape) for factor in factors if factor.dtype.itemsize < width)


def _reused(line: _Line, new: Sequence[int], dying: set[int], size: list[int]) -> int:
    """Return the bytes of the results that reuse the memory of dying arrays."""
    if line.name in WHOLE - IN_PLACE or line.name in ("gather", "concatenate"):
        return 0
    # Example: arrays of 8, 8 and 4 bytes die, results have 8 and 6: only the 8 is reused.
    free = Counter(size[array] for array in dying)
    total = 0
    for array in new:
        if free[size[array]] > 0:
            free[size[array]] -= 1
            total += size[array]
    return total
