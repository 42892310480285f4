"""Float32 part of exact search on the devices of a mesh: each holds a part of the gallery, and queries come in blocks.

Every process has all embeddings and calls these functions alike; all get the same result. A device needs memory for its
part of the gallery and for the similarities of one block. Products are computed in full float32, so that
`mmvideo.evaluation.retrieval.exact_search` can bound their error and recompute the pairs that the bound leaves open.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float32, Int

BLOCK = 1024, 4096
"""Number of queries and of entries that a device compares at a time; their similarities take 16 MiB."""

WORTH = 1e10
"""Number of multiplications from which a search runs on the devices; the host needs about a second for it."""

NOBODY = -1
"""Group of padding entries."""

LAST = float(np.finfo(np.float32).min)
"""Similarity in place of NaN: above padding, below everything else."""


def mesh_for(mesh: Mesh | None, queries: int, entries: int, width: int) -> Mesh | None:
    """Return the mesh if a search of this size is faster there, None for the host."""
    if mesh is None or mesh.empty or queries * entries * width < WORTH:
        return None
    return mesh if mesh.size > 1 or mesh.devices.flat[0].platform != "cpu" else None


def mesh_counts(
    query: Float[np.ndarray, "p d"],
    gallery: Float[np.ndarray, "m d"],
    query_group: Int[np.ndarray, "p"],
    gallery_group: Int[np.ndarray, "m"],
    low: Float32[np.ndarray, "p"],
    high: Float32[np.ndarray, "p"],
    mesh: Mesh,
) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]:
    """Count, for each query, the entries of other groups above `high`, and those neither above `high` nor below `low`.

    NaN similarities are among the latter. Groups are 0 or more.
    """
    parts, groups = _spread(gallery, gallery_group, mesh)
    count = _counting(mesh)
    found = [
        count(parts, groups, *block)
        for block in _blocks(len(query), query.astype(np.float32), query_group.astype(np.int32), low, high)
    ]
    above, between = (np.concatenate([np.asarray(pair[n]) for pair in found])[: len(query)] for n in range(2))
    return above.astype(np.int64), between.astype(np.int64)


def mesh_candidates(
    query: Float[np.ndarray, "n d"], gallery: Float[np.ndarray, "m d"], kept: int, mesh: Mesh
) -> tuple[Int[np.ndarray, "n k"], Float32[np.ndarray, "n"]]:
    """Return the `kept` most similar entries of each query, best first, and the lowest similarity among them.

    NaN similarities come last.
    """
    parts, groups = _spread(gallery, np.zeros(len(gallery), np.int32), mesh)
    best = _choosing(mesh, kept)
    found = [best(parts, groups, *block) for block in _blocks(len(query), query.astype(np.float32))]
    place, similarity = (np.concatenate([np.asarray(pair[n]) for pair in found])[: len(query)] for n in range(2))
    return place.astype(np.int64), similarity.min(axis=1)


def _spread(gallery: np.ndarray, group: np.ndarray, mesh: Mesh) -> tuple[jax.Array, jax.Array]:
    """Return the gallery in blocks `[devices * b, block, d]`, `b` a device, and the group of each entry."""
    # 10,000 entries on 2 devices: block 4096, 4 blocks (2 a device), 6,384 padding entries of group NOBODY.
    block = min(BLOCK[1], -(-len(gallery) // mesh.size))
    blocks = -(-len(gallery) // (block * mesh.size)) * mesh.size
    empty = blocks * block - len(gallery)
    vectors = np.pad(gallery.astype(np.float32, copy=False), ((0, empty), (0, 0))).reshape(blocks, block, -1)
    groups = np.pad(group.astype(np.int32), (0, empty), constant_values=NOBODY).reshape(blocks, block)
    places = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return tuple(
        jax.make_array_from_callback(array.shape, places, lambda index, array=array: array[index])
        for array in (vectors, groups)
    )


def _blocks(count: int, *arrays: np.ndarray) -> list[list[np.ndarray]]:
    """Return the arrays in blocks of queries of equal length; the last block is padded with zeros."""
    block = min(BLOCK[0], count)
    starts = range(0, count, block)
    # Equal blocks share one compiled program. The caller cuts the padding off: 1,500 queries are 2 blocks of 1,024.
    whole = [np.pad(a, ((0, len(starts) * block - count),) + ((0, 0),) * (a.ndim - 1)) for a in arrays]
    return [[a[start : start + block] for a in whole] for start in starts]


def _on_parts(mesh: Mesh, program: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a program over each device's part of the gallery and over queries that every device has.

    Every device gets the same result.
    """
    part, whole = PartitionSpec(mesh.axis_names), PartitionSpec()

    def run(parts: Array, groups: Array, *queries: Array) -> Any:
        specs = (part, part, *(whole for _ in queries))
        # Sums and gathered lists are the same everywhere, which the check can't see of a gathered one.
        return jax.shard_map(program, mesh=mesh, in_specs=specs, out_specs=whole, check_vma=False)(
            parts, groups, *queries
        )

    return jax.jit(run)


@functools.lru_cache(maxsize=8)
def _counting(mesh: Mesh) -> Callable[..., tuple[jax.Array, jax.Array]]:
    def program(
        parts: Float[Array, "b e d"],
        groups: Int[Array, "b e"],
        query: Float[Array, "n d"],
        own: Int[Array, "n"],
        low: Float[Array, "n"],
        high: Float[Array, "n"],
    ) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
        def count(so_far: tuple[Array, Array], block: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            vectors, group = block
            similarity = _similarity(query, vectors)
            wrong = (group != NOBODY) & (group != own[:, None])
            above = similarity > high[:, None]
            between = ~above & ~(similarity < low[:, None])
            return tuple(n + (wrong & met).sum(axis=1) for n, met in zip(so_far, (above, between), strict=True)), None

        none = jnp.zeros(len(query), jnp.int32)
        found, _ = jax.lax.scan(count, (none, none), (parts, groups))
        # Each device has counted its part of the gallery; the sum over devices is the count over the whole.
        return jax.lax.psum(found, mesh.axis_names)

    return _on_parts(mesh, program)


@functools.lru_cache(maxsize=8)
def _choosing(mesh: Mesh, kept: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    def program(
        parts: Float[Array, "b e d"], groups: Int[Array, "b e"], query: Float[Array, "n d"]
    ) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
        blocks, size = groups.shape
        # Global index of the device's first entry: device 1 with 2 blocks of 4096 entries starts at 8192.
        first = jax.lax.axis_index(mesh.axis_names) * blocks * size

        def choose(so_far: tuple[Array, Array], block: tuple[Array, ...]) -> tuple[tuple[Array, Array], None]:
            vectors, group, begin = block
            similarity = _similarity(query, vectors)
            similarity = jnp.where(jnp.isnan(similarity), LAST, similarity)
            # Order of the worst: padding -inf, then NaN as LAST, then every real similarity.
            similarity = jnp.where(group == NOBODY, -jnp.inf, similarity)
            number = jnp.broadcast_to(begin + jnp.arange(size), similarity.shape)
            return _best(
                *(jnp.concatenate(both, 1) for both in zip(so_far, (number, similarity), strict=True)), kept
            ), None

        none = jnp.zeros((len(query), kept), jnp.int32), jnp.full((len(query), kept), -jnp.inf)
        found, _ = jax.lax.scan(choose, none, (parts, groups, first + size * jnp.arange(blocks)))
        # 4 devices with `kept` candidates each: the best `kept` of 4 * kept are the best of the whole gallery.
        return _best(*jax.lax.all_gather(found, mesh.axis_names, axis=1, tiled=True), kept)

    return _on_parts(mesh, program)


def _best(number: Int[Array, "n c"], similarity: Float[Array, "n c"], kept: int) -> tuple[Array, Array]:
    """Return the `kept` best candidates; of equal ones the first, which have the lower index."""
    similarity, place = jax.lax.top_k(similarity, kept)
    return jnp.take_along_axis(number, place, axis=1), similarity


def _similarity(query: Float[Array, "n d"], vectors: Float[Array, "e d"]) -> Float[Array, "n e"]:
    return jnp.einsum("nd,ed->ne", query, vectors, precision=jax.lax.Precision.HIGHEST)
