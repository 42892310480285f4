"""The most memory that a program needs at once, told from its jaxpr: a rehearsal of what XLA makes of it.

The program is walked with the arrays that are alive, in the order in which XLA leaves one that it has no reason to turn
round: from its results down, each operation behind what it reads. In a layer's backward pass the gradient of what came
in is the first result, and those of weights come behind it, so that what these are made of stays until then.

XLA fuses operations on single numbers into whatever reads them, so such a result takes memory only where

- a product, a loop, a sort or the like reads it, which needs its input whole;
- it is a result of the program or of a loop's turn;
- it is dear to compute (`exp`, a division) and read more than once, so that XLA would not compute it twice.

What is made of the same arrays, number by number, is made by one kernel, all of it at once; such a kernel often sums
something up as well, and writes nothing in the place of what it reads, which here stays until the last of its results
would have had its turn. Products, loops, reductions, gathers and updates always make an array; a product whose factors
are of two types also a copy of the narrower one in the other's type. An array is freed behind its last reader; where
that is no product, the result takes its place if it is as large. A loop needs what one turn of it needs, once, beside
what it carries and stacks up; what it stacks up is filled with zeros first, and XLA fills all such arrays of one shape
at once, before the first loop that has one.

`experiments/benchmarks/plan.md` has the result beside what XLA's compilers for accelerators say of the same steps;
`python tools/bench/plan.py --compile` compares them anew.
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
"""What reads arrays whole and makes arrays: nothing is fused into it, and it into nothing."""

MAKING = WHOLE | frozenset(
    "gather scatter scatter-add dynamic_update_slice concatenate reduce_sum reduce_max reduce_min reduce_prod "
    "reduce_and reduce_or argmax argmin device_put".split()
)
"""What makes an array, though what it reads may be fused into it."""

DEAR = frozenset("exp exp2 log log1p expm1 tanh erf rsqrt sqrt div pow logistic sin cos".split())
"""Operations on single numbers that are not computed once for each reader."""

NOTHING = frozenset(
    "reshape squeeze expand_dims stop_gradient optimization_barrier copy sharding_constraint name".split()
)
"""Other names for the same numbers."""

IN_PLACE = frozenset("dynamic_update_slice scatter scatter-add scan while".split())
"""Of what makes arrays, what may write into an input that nobody reads any more."""

APART = frozenset(("scan", "while", "cond", "shard_map", "pallas_call"))
"""Equations whose inner programs are not part of the outer one."""


@dataclasses.dataclass(frozen=True)
class _Line:
    """An operation of a flat program: its equation, and the numbers of the arrays that it reads and makes."""

    equation: Any
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    @property
    def name(self) -> str:
        """Of the operation."""
        return self.equation.primitive.name


@dataclasses.dataclass
class _Program:
    """A jaxpr with its calls written out.

    Attributes:
      shapes: of each array by number, as JAX's abstract values.
      given: arrays that are there before the program, constants and literals among them.
      lines: the operations.
      results: arrays that the program gives.
    """

    shapes: list[Any]
    given: set[int]
    lines: list[_Line]
    results: list[int]

    def number(self, aval: Any, given: bool = False) -> int:
        """A number for a new array."""
        self.shapes.append(aval)
        if given:
            self.given.add(len(self.shapes) - 1)
        return len(self.shapes) - 1


def peak_bytes(program: Callable[..., Any], *arguments: Any, shares: Sequence[float] | None = None) -> int:
    """The most bytes that `program(*arguments)` holds at once beside its arguments; its results count.

    Args:
      program: a function that JAX can trace.
      arguments: trees of arrays or of `jax.ShapeDtypeStruct`.
      shares: for each leaf of the results, the share of it that a device holds; None: all of it.
    """
    return peak_of(jax.make_jaxpr(program)(*arguments).jaxpr, shares)


def peak_of(jaxpr: Any, shares: Sequence[float] | None = None) -> int:
    """The same of a jaxpr."""
    flat = _flat(jaxpr)
    sources, made = _sources(flat)
    size = [array_bytes(shape) for shape in flat.shapes]
    for result, share in zip(flat.results, shares or (), strict=False):
        for array in sources[result] & made:
            size[array] = math.ceil(size[array] * share)
    return _rehearse(flat, sources, made, size)


def array_bytes(shape: Any) -> int:
    """Bytes that an array takes of a device's memory; it may be abstract."""
    if not hasattr(shape, "dtype") or getattr(shape, "memory_space", None) == jax.memory.Space.Host:
        return 0
    # A key of a random stream is no number; its words are what it takes.
    key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
    return math.prod(shape.shape) * (8 if key else np.dtype(shape.dtype).itemsize)


def _flat(jaxpr: Any) -> _Program:
    """The program with its calls written out, and without what nobody reads."""
    flat = _Program([], set(), [], [])
    numbers = {variable: flat.number(variable.aval, given=True) for variable in jaxpr.invars}
    _write_out(jaxpr, numbers, flat)
    flat.results = [_number_of(atom, numbers, flat) for atom in jaxpr.outvars]
    needed, kept = set(flat.results), []
    for line in reversed(flat.lines):
        if needed & set(line.makes):
            kept.append(line)
            needed |= set(line.reads)
    flat.lines = _from_results(flat, kept[::-1])
    return flat


def _from_results(flat: _Program, lines: list[_Line]) -> list[_Line]:
    """The lines in post-order: result by result, each line directly behind what it needs that has not come yet."""
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
    """Appends the equations of a jaxpr whose inputs have numbers, those of calls in the place of the calls."""
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
    """The number of a variable; a literal takes no memory, as what is given does not."""
    return flat.number(atom.aval, given=True) if isinstance(atom, core.Literal) else numbers[atom]


def _sources(flat: _Program) -> tuple[dict[int, frozenset[int]], set[int]]:
    """For each array those in memory from which it is computed, itself if it is one; and which are made in memory."""
    readers = defaultdict(list)
    for line in flat.lines:
        for array in set(line.reads):
            readers[array].append(line)
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
    """Whether a result takes memory; `below` is what it is computed from that the program itself has made."""
    if line.name in MAKING:
        return True
    if line.name in NOTHING or (line.name == "transpose" and array in results):
        # XLA turns a result round by the order in which it is written.
        return array in results and not below
    if array in results or any(reader.name in WHOLE for reader in _readers(array, readers)):
        # XLA makes an array of one number where it is read.
        return not (line.name == "broadcast_in_dim" and not below and array not in results)
    return line.name in DEAR and len(readers[array]) > 1


def _readers(array: int, readers: Any) -> Iterator[_Line]:
    """What reads an array, by whatever name; products read through transpositions."""
    for line in readers[array]:
        if line.name in NOTHING or line.name == "transpose":
            for other in line.makes:
                yield from _readers(other, readers)
        else:
            yield line


def _rehearse(flat: _Program, sources: dict[int, frozenset[int]], made: set[int], size: list[int]) -> int:
    """Runs through the lines with what is alive."""
    touched = [_touched(line, sources, made) for line in flat.lines]
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
        needed = sum(size[array] for array in (*new, *ahead)) + _beside(line) - _reused(line, new, dying, size)
        most = max(most, live + needed)
        coming = {array for array in (*new, *ahead) if array in last}
        alive = (alive | coming) - dying
        live += sum(size[array] for array in coming) - sum(size[array] for array in dying)
    return most


def _filled_early(flat: _Program, made: set[int]) -> dict[int, list[int]]:
    """For the first loop that stacks up an array of some shape, those that later loops stack up of the same shape."""
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
    """For an operation on single numbers, what later ones make of the same arrays: one kernel makes all of them."""
    maker = {array: number for number, line in enumerate(flat.lines) for array in line.makes}
    ready = [max((maker.get(array, -1) for array in arrays), default=-1) for arrays in touched]
    readers = defaultdict(list)
    for number, line in enumerate(flat.lines):
        if line.name not in MAKING and made & set(line.makes):
            for array in touched[number]:
                readers[array].append(number)
    found: dict[int, list[int]] = {}
    taken: set[int] = set()
    for numbers in readers.values():
        for place, first in enumerate(numbers):
            if first in taken:
                continue
            elements = math.prod(flat.shapes[flat.lines[first].makes[0]].shape)
            for later in numbers[place + 1 :]:
                array = flat.lines[later].makes[0]
                if later not in taken and ready[later] < first and math.prod(flat.shapes[array].shape) == elements:
                    taken.add(later)
                    found.setdefault(first, []).append(array)
    return found


def _touched(line: _Line, sources: dict[int, frozenset[int]], made: set[int]) -> frozenset[int]:
    """The arrays that are read when a line runs; what is fused runs with its readers."""
    if not made & set(line.makes):
        return frozenset()
    return frozenset().union(*(sources[array] for array in line.reads))


def _beside(line: _Line) -> int:
    """Bytes that an operation needs beside what it reads and makes: of one turn of a loop, or of the larger branch."""
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
    """Bytes of the copy that a product makes of a factor that is narrower than the other."""
    factors = [atom.aval for atom in line.equation.invars]
    width = max(factor.dtype.itemsize for factor in factors)
    return sum(width * math.prod(factor.shape) for factor in factors if factor.dtype.itemsize < width)


def _reused(line: _Line, new: Sequence[int], dying: set[int], size: list[int]) -> int:
    """Bytes of the results that take the place of what dies."""
    if line.name in WHOLE - IN_PLACE or line.name in ("gather", "concatenate"):
        return 0
    free = Counter(size[array] for array in dying)
    total = 0
    for array in new:
        if free[size[array]] > 0:
            free[size[array]] -= 1
            total += size[array]
    return total
