"""The arithmetic of a program: the products of its jaxpr, counted without computing one.

A program is traced with abstract values and every `dot_general`, ragged product and convolution is
counted at two FLOPs a multiply-add, whatever an accelerator makes of it; the body of a scan counts
as often as it runs. All else (norms, softmax, GELU) is left out, as the field's figures do.

Each product is told apart by its factors: one of them is a weight, or both are activations (queries
with keys, attention weights with values). The first belongs to the part of the model whose weight it
is, the second to the part whose weights touched its factors last.
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
        """All of them."""
        return sum(self.weights.values()) + sum(self.activations.values())

    def of(self, part: str) -> int:
        """Those of one part."""
        return self.weights.get(part, 0) + self.activations.get(part, 0)


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where a value comes from: whether from weights alone, and the last part of the model that touched it."""

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
    """Counts the products of `program(weights, *arguments)`.

    Args:
      program: a function that JAX can trace.
      weights: a tree of arrays or of `jax.ShapeDtypeStruct`, as are the other arguments.
      part: the part of the model that a weight belongs to, by the names on its path.
      order: all parts, in the order in which data passes them.

    Returns:
      The counts; a `while` loop, whose length nobody knows, counts one turn, and of the branches of a
      `cond` the most expensive counts.
    """
    closed = jax.make_jaxpr(program)(weights, *arguments)
    paths, _ = jax.tree_util.tree_flatten_with_path(weights)
    origins = [_Origin(True, order.index(part(names(path)))) for path, _ in paths]
    origins += [_DATA] * (len(closed.jaxpr.invars) - len(origins))
    tally: Counter = Counter()
    _walk(closed.jaxpr, origins, 1, tally)
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for (weight, number), flops in sorted(tally.items()):
        found[0 if weight else 1][order[number] if number >= 0 else OTHER] = flops
    return Products(*found)


def count_flops(program: Callable[..., Any], *arguments: Any) -> int:
    """FLOPs of all products of `program(*arguments)`, not told apart; also right for gradients."""
    closed = jax.make_jaxpr(program)(*arguments)
    tally: Counter = Counter()
    _walk(closed.jaxpr, [_DATA] * len(closed.jaxpr.invars), 1, tally)
    return sum(tally.values())


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys of a path in a tree, whatever kind of container they index."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _walk(jaxpr: Any, inputs: Sequence[_Origin], times: int, tally: Counter) -> list[_Origin]:
    """Counts a jaxpr that runs `times` times into the tally; gives the origins of its outputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def origin(atom: Any) -> _Origin | None:
        """None for a constant, which takes no side."""
        return None if isinstance(atom, core.Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        factors = [origin(atom) for atom in equation.invars]
        outputs = _step(equation, factors, times, tally)
        known |= {variable: out for variable, out in zip(equation.outvars, outputs, strict=True) if out is not None}
    return [origin(atom) or _DATA for atom in jaxpr.outvars]


def _step(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin | None]:
    """Counts one equation; gives the origins of its outputs."""
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
        sides = [factor or _DATA for factor in factors[:2]]
        weighted = [side.part for side in sides if side.weight]
        part = weighted[0] if len(weighted) == 1 else max(side.part for side in sides)
        tally[bool(weighted), part] += times * _FLOPS[name](equation)
        out = _Origin(len(weighted) == 2, part)
    return [out] * len(equation.outvars)


def _join(origins: Sequence[_Origin | None]) -> _Origin | None:
    """What is made of several values: a weight if all of them are, and of the last part among them."""
    real = [origin for origin in origins if origin is not None]
    if not real:
        return None
    return _Origin(all(origin.weight for origin in real), max(origin.part for origin in real))


def _sides(factors: Sequence[_Origin | None]) -> list[_Origin]:
    """Constants that enter an inner program count as data there."""
    return [factor or _DATA for factor in factors]


def _scan(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin]:
    """A scan: what it carries may be a weight before the first turn only, so its origin is found first."""
    first, last = carried_range(equation.params)
    body, inputs = equation.params["jaxpr"].jaxpr, _sides(factors)
    while True:
        outputs = _walk(body, inputs, 1, Counter())
        carried = [_join(pair) for pair in zip(inputs[first:last], outputs[: last - first], strict=True)]
        if carried == inputs[first:last]:
            break
        inputs[first:last] = carried
    return _walk(body, inputs, times * equation.params["length"], tally)


def carried_range(scan: Mapping[str, Any]) -> tuple[int, int]:
    """The first of a scan's inputs that it carries, and the one behind the last."""
    if "ft_in" in scan:  # JAX 0.11 and later keep constants, what is carried, and what is scanned over as trees.
        constants, carried, _ = map(len, scan["ft_in"].unpack())
    else:
        constants, carried = scan["num_consts"], scan["num_carry"]
    return constants, constants + carried


def _branches(equation: Any, factors: list[_Origin | None], times: int, tally: Counter) -> list[_Origin]:
    """Of the branches, the one with most FLOPs."""
    counted = []
    for branch in equation.params["branches"]:
        own: Counter = Counter()
        counted.append((_walk(branch.jaxpr, _sides(factors[1:]), times, own), own))
    outputs, most = max(counted, key=lambda pair: sum(pair[1].values()))
    tally.update(most)
    return outputs


def called(equation: Any) -> Any:
    """The jaxpr of an equation that is a call (jit, remat, custom gradient); None for one that is none."""
    for value in equation.params.values():
        value = getattr(value, "jaxpr", value)
        if isinstance(value, core.Jaxpr) and len(value.invars) == len(equation.invars):
            return value
    return None


def _dot(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * _size(equation.outvars[0]) * math.prod(left[axis] for axis in contracted)


def _ragged_dot(equation: Any) -> int:
    """Each row is multiplied by the matrix of its own group only."""
    (contracted, _), _ = equation.params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    left = equation.invars[0].aval.shape
    groups = 1 if len(equation.outvars[0].aval.shape) == len(left) else equation.outvars[0].aval.shape[0]
    return 2 * _size(equation.outvars[0]) // groups * math.prod(left[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    """Each output number takes the whole kernel of its group; zeros put between inputs are not multiplied."""
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
