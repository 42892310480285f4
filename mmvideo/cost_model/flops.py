"""The arithmetic of a program: the products of its jaxpr, counted without running it.

A program is traced with abstract values. Every `dot_general`, ragged product and convolution counts two FLOPs per
multiply-add, whatever an accelerator makes of it; the body of a scan counts as often as it runs. All else (norms,
softmax, GELU) is left out, as is usual.

Each product is classified by its factors: one of them is a weight, or both are activations (queries with keys,
attention weights with values). A product with a weight belongs to the part of the model that owns the weight. A product
of activations belongs to the part whose weights touched its factors last.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.extend import core

OTHER = "other"
"""The part of products whose factors no weight has touched."""


@dataclasses.dataclass(frozen=True)
class Products:
    """FLOPs of the products of a program, by part of the model.

    Attributes:
      weights: products with a weight.
      activations: products of two activations.
    """

    weights: dict[str, int]
    activations: dict[str, int]

    @property
    def total(self) -> int:
        """FLOPs of all products."""
        return sum(self.weights.values()) + sum(self.activations.values())

    def of(self, part: str) -> int:
        """Return the FLOPs of one part."""
        return self.weights.get(part, 0) + self.activations.get(part, 0)


@dataclasses.dataclass(frozen=True)
class _Origin:
    """The origin of a value: whether it is computed from weights alone, and the last part that touched it."""

    weight: bool
    part: int = -1


_DATA = _Origin(False)


def count_products(
    program: Callable[..., Any],
    weights: Any,
    *arguments: Any,
    part: Callable[[tuple[str, ...]], str],
    order: Sequence[str],
) -> Products:
    """Count the products of `program(weights, *arguments)`.

    Args:
      program: a function that JAX can trace.
      weights: a tree of arrays or of `jax.ShapeDtypeStruct`, as are the other arguments.
      part: function from the names on a weight's path to the part of the model that it belongs to.
      order: all parts, in the order in which data passes them.

    Returns:
      The counts. A `while` loop, whose length is unknown, counts one turn; a `cond` counts its most expensive branch.
    """
    closed = jax.make_jaxpr(program)(weights, *arguments)
    paths, _ = jax.tree_util.tree_flatten_with_path(weights)
    # The jaxpr's inputs are the leaves of `weights`, then those of the arguments, in the order of the trees.
    origins = [_Origin(True, order.index(part(names(path)))) for path, _ in paths]
    origins += [_DATA] * (len(closed.jaxpr.invars) - len(origins))
    tally: Counter = Counter()
    _walk(closed.jaxpr, origins, 1, tally)
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for (weight, number), flops in sorted(tally.items()):
        found[0 if weight else 1][order[number] if number >= 0 else OTHER] = flops
    return Products(*found)


def count_flops(program: Callable[..., Any], *arguments: Any) -> int:
    """Return the FLOPs of all products of `program(*arguments)`, in one sum; also correct for gradients."""
    closed = jax.make_jaxpr(program)(*arguments)
    tally: Counter = Counter()
    _walk(closed.jaxpr, [_DATA] * len(closed.jaxpr.invars), 1, tally)
    return sum(tally.values())


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the keys of a path in a tree, for any kind of container."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _walk(jaxpr: Any, inputs: Sequence[_Origin], times: int, tally: Counter) -> list[_Origin]:
    """Count a jaxpr that runs `times` times into the tally; return the origins of its outputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def origin(atom: Any) -> _Origin | None:
        """Return the origin of a value; None for a constant, which is neither weight nor data."""
        return None if isinstance(atom, core.Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        factors = [origin(atom) for atom in equation.invars]
        outputs = _step(equation, factors, times, tally)
        known |= {variable: out for variable, out in zip(equation.outvars, outputs, strict=True) if out is not None}
    return [origin(atom) or _DATA for atom in jaxpr.outvars]


def _step(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin | None]:
    """Count one equation; return the origins of its outputs."""
    name = equation.primitive.name
    if name == "scan":
        return _scan(equation, factors, times, tally)
    if name == "while":
        bodies = equation.params["cond_nconsts"]
        return _walk(equation.params["body_jaxpr"].jaxpr, _sides(factors[bodies:]), times, tally)
    if name == "cond":
        return _branches(equation, factors, times, tally)
    inner = called(equation)
    if inner is not None:
        return _walk(inner, _sides(factors), times, tally)
    out = _join(factors)
    if name in _FLOPS:
        # Example: `x @ w` with w of part 4 counts for part 4, with the weights. Queries of part 4 with keys of part 4
        # are both data and count for part 4, with the activations. `w1 @ w2` (a low-rank update) stays a weight.
        sides = [factor or _DATA for factor in factors[:2]]
        weighted = [side.part for side in sides if side.weight]
        part = weighted[0] if len(weighted) == 1 else max(side.part for side in sides)
        tally[bool(weighted), part] += times * _FLOPS[name](equation)
        out = _Origin(len(weighted) == 2, part)
    return [out] * len(equation.outvars)


def _join(origins: Sequence[_Origin | None]) -> _Origin | None:
    """Return the origin of a value computed from several: a weight if all are, of the last part among them."""
    real = [origin for origin in origins if origin is not None]
    if not real:
        return None
    return _Origin(all(origin.weight for origin in real), max(origin.part for origin in real))


def _sides(factors: Sequence[_Origin | None]) -> list[_Origin]:
    """Return origins in which constants, which enter an inner program, count as data."""
    return [factor or _DATA for factor in factors]


def _scan(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin]:
    """Count a scan; return the origins of its outputs."""
    # A carried value may be a weight before the first turn only: a stream that starts as a parameter becomes data once
    # inputs are added to it. The loop repeats an uncounted turn until the origins of the carry no longer change.
    first, last = carried_range(equation.params)
    body = equation.params["jaxpr"].jaxpr
    inputs = _sides(factors)
    while True:
        outputs = _walk(body, inputs, 1, Counter())
        carried = [_join(pair) for pair in zip(inputs[first:last], outputs[: last - first], strict=True)]
        if carried == inputs[first:last]:
            break
        inputs[first:last] = carried
    return _walk(body, inputs, times * equation.params["length"], tally)


def carried_range(scan: Mapping[str, Any]) -> tuple[int, int]:
    """Return the range of a scan's inputs that it carries: first and end.

    Example: 2 constants and 3 carried values give (2, 5).
    """
    # JAX 0.11 and later have constants, carry and scanned inputs as trees.
    if "ft_in" in scan:
        constants, carried, _ = map(len, scan["ft_in"].unpack())
    else:
        constants, carried = scan["num_consts"], scan["num_carry"]
    return constants, constants + carried


def _branches(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin]:
    """Count the branch with the most FLOPs."""
    counted = []
    for branch in equation.params["branches"]:
        own: Counter = Counter()
        counted.append((_walk(branch.jaxpr, _sides(factors[1:]), times, own), own))
    outputs, most = max(counted, key=lambda pair: sum(pair[1].values()))
    tally.update(most)
    return outputs


def called(equation: Any) -> Any:
    """Return the jaxpr of an equation that is a call (jit, remat, custom gradient); None for any other."""
    for value in equation.params.values():
        value = getattr(value, "jaxpr", value)
        if isinstance(value, core.Jaxpr) and len(value.invars) == len(equation.invars):
            return value
    return None


def _dot(equation: Any) -> int:
    # Example: [B, L, D] with [D, F]: the output has B L F elements, each a sum of D products.
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * _size(equation.outvars[0]) * math.prod(left[axis] for axis in contracted)


def _ragged_dot(equation: Any) -> int:
    """Return the FLOPs of a ragged product, in which each row is multiplied by the matrix of its own group only."""
    (contracted, _), _ = equation.params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    left = equation.invars[0].aval.shape
    # Where the groups are the first axis of the output (the gradient of the matrices), each row adds to one group only.
    groups = 1 if len(equation.outvars[0].aval.shape) == len(left) else equation.outvars[0].aval.shape[0]
    return 2 * _size(equation.outvars[0]) // groups * math.prod(left[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    """Return the FLOPs of a convolution."""
    # Each output element sums over the kernel of its group: 3 x 3 over 64 channels are 576 multiply-adds. Zeros that
    # dilation inserts between inputs are not multiplied.
    kernel = equation.invars[1].aval.shape
    outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    zeros = math.prod(equation.params["lhs_dilation"])
    return 2 * _size(equation.outvars[0]) * math.prod(kernel) // outputs // zeros


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)


_FLOPS: dict[str, Callable[[Any], int]] = {
    "dot_general": _dot,
    "ragged_dot_general": _ragged_dot,
    "conv_general_dilated": _convolution,
}
