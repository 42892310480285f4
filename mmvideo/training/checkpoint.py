"""Checkpoints: Orbax writes them in the background, digests tell whether what comes back is what went in.

A step's folder holds `params/`, `ema/` where one is kept, `variables/` where there are any, `rest/`
(optimiser state, counters) and `record/` (assets, config.json, digests). Orbax builds it under
another name and renames it when it is whole; a killed save leaves nothing that is taken for a
checkpoint. Orbax restores flipped bytes without a word, therefore every array is digested on the
device before it is written and again after it is read.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmvideo.training.digest import digests
from mmvideo.training.record import ArrayRecord, CheckpointError, DamagedCheckpoint, make_record, read_record
from mmvideo.training.state import TrainState

__all__ = ["CheckpointError", "Checkpoints", "DamagedCheckpoint"]

RECORD = "record"
REST = ("opt_state", "step", "skipped", "bad_in_a_row", "spikes")
DAMAGED = "damaged-"


class Checkpoints:
    """The checkpoints of one folder.

    Args:
      folder: `WORKDIR/checkpoints`, on a file system that all processes share.
      keep: newest checkpoints kept; None keeps all.
      loud: whether a fallback on an older checkpoint is told on stderr.
    """

    def __init__(self, folder: str | Path, keep: int | None = None, loud: bool = True):
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = Path(folder).resolve()
        self._keep = keep
        self._loud = loud
        self._writer: ocp.CheckpointManager | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit())

    @property
    def latest(self) -> int | None:
        """The newest step, or None."""
        return next(iter(reversed(self.steps())), None)

    def save(self, step: int, state: TrainState, assets: Mapping[str, bytes]) -> None:
        """Copies the state off the devices and writes it in the background; waits for the save before.

        Raises:
          OSError: the save before could not be written.
        """
        if step in self.steps():
            return
        parts = _parts(state)
        arrays = {name: array for part in parts.values() for name, array in part.items()}
        found = digests(arrays)
        record = {name: ArrayRecord(a.shape, str(a.dtype), found[name]) for name, a in arrays.items()}
        items: dict[str, Any] = {name: ocp.args.StandardSave(part) for name, part in parts.items() if part}
        self._open().save(step, args=ocp.args.Composite(**items, **{RECORD: make_record(record, assets)}))

    def wait(self) -> None:
        """Returns when the last save is whole on disk."""
        if self._writer is not None:
            self._writer.wait_until_finished()
            self._writer.check_for_errors()

    def close(self) -> None:
        """Waits, and ends the background threads."""
        if self._writer is not None:
            self.wait()
            self._writer.close()
            self._writer = None

    def restore(self, abstract: TrainState, step: int | None = None) -> TrainState:
        """The state saved at `step`, or the newest one that is whole, laid out as `abstract` says.

        Raises:
          CheckpointError: there is none, or its arrays have other names, shapes or dtypes.
          DamagedCheckpoint: the given step is damaged, or with no step given, all are.
        """

        def read(found: int) -> TrainState:
            wanted = _parts(abstract)
            parts = {name: self._read_part(found, name, part) for name, part in wanted.items()}
            return _assemble(abstract, {name: array for part in parts.values() for name, array in part.items()})

        return self._newest(read, step)

    def restore_params(self, abstract_params: Any, step: int | None = None, ema: bool = False) -> Any:
        """The parameters alone, or their moving average; reads nothing of the optimiser.

        Args:
          abstract_params: nested dicts of `jax.ShapeDtypeStruct`, with shardings.
          step: which checkpoint; None is the newest that is whole.
          ema: whether the moving average is wanted.

        Raises:
          CheckpointError, DamagedCheckpoint: as `restore`.
        """
        part = "ema" if ema else "params"

        def read(found: int) -> Any:
            arrays = self._read_part(found, part, _flat(abstract_params, part))
            return _fill(abstract_params, part, arrays)

        return self._newest(read, step)

    def parameters(self, step: int | None = None) -> dict[str, np.ndarray]:
        """All parameters by dotted name, whatever they are, on the host; their moving average where one was kept.

        Raises:
          CheckpointError, DamagedCheckpoint: as `restore`.
        """
        whole = NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), PartitionSpec())

        def read(found: int) -> dict[str, np.ndarray]:
            record = read_record(self.folder / str(found) / RECORD)[0]
            part = "ema" if any(name.startswith("ema.") for name in record) else "params"
            wanted = {
                name: jax.ShapeDtypeStruct(tuple(array.shape), np.dtype(array.dtype), sharding=whole)
                for name, array in record.items()
                if name.startswith(part + ".")
            }
            arrays = self._read_part(found, part, wanted)
            return {name.removeprefix(part + "."): np.asarray(array) for name, array in arrays.items()}

        return self._newest(read, step)

    def restore_variables(self, abstract_variables: Any, step: int | None = None) -> Any:
        """What a learner keeps beside its parameters: random streams, averages; as `restore_params`."""

        def read(found: int) -> Any:
            arrays = self._read_part(found, "variables", _flat(abstract_variables, "variables"))
            return _fill(abstract_variables, "variables", arrays)

        return self._newest(read, step)

    def assets(self, step: int | None = None) -> dict[str, bytes]:
        """The files saved with the arrays: config.json, tokenizer, statistics, by name."""
        return self._newest(lambda found: read_record(self.folder / str(found) / RECORD)[1], step)

    def set_aside_after(self, step: int) -> None:
        """Renames the checkpoints past `step`, which are damaged, so that the run can save these steps again."""
        if jax.process_index() == 0:
            for later in self.steps():
                if later > step:
                    _free_name(self.folder, later, self.folder / str(later))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("set aside damaged checkpoints")

    def _open(self) -> ocp.CheckpointManager:
        if self._writer is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._keep, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=True
            )
            self._writer = ocp.CheckpointManager(self.folder, options=options)
        return self._writer

    def _newest(self, read: Callable[[int], Any], step: int | None) -> Any:
        """Reads the given step; with none given the newest, and the one before it where that is damaged."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            there = f"there are steps {steps}" if steps else "train first"
            raise CheckpointError(f"{wanted} in {self.folder}; {there}")
        reason = ""
        for candidate in [step] if step is not None else reversed(steps):
            try:
                return read(candidate)
            except DamagedCheckpoint as error:
                reason = f"checkpoint of step {candidate} in {self.folder} is damaged: {error}"
                if self._loud and step is None and candidate != steps[0]:
                    print(f"{reason}; falling back on the one before it", file=sys.stderr)
        raise DamagedCheckpoint(f"{reason}; " + ("take another step" if step is not None else "no other is whole"))

    def _read_part(self, step: int, part: str, wanted: Mapping[str, Any]) -> dict[str, jax.Array]:
        """The arrays of one part, compared with what is wanted and with their digests."""
        folder = self.folder / str(step)
        record = {n: r for n, r in read_record(folder / RECORD)[0].items() if n.split(".")[0] == part}
        _compare(f"checkpoint of step {step} in {self.folder}", record, wanted)
        if not wanted:
            return {}
        arrays, reason = None, ""
        try:
            with _one_complaint_only(), ocp.StandardCheckpointer() as reader:
                arrays = reader.restore(folder / part, dict(wanted))
        except Exception as error:  # Orbax and TensorStore raise many kinds; each means it can't be read.
            told = (str(error).splitlines() or ["no more is told"])[0]
            reason = f"{part} cannot be read ({type(error).__name__}: {told[:200]})"
        if not _all_agree(arrays is not None):
            raise DamagedCheckpoint(reason or f"{part} cannot be read by another process")
        wrong = [name for name, found in digests(arrays).items() if found != record[name].digest]
        if wrong:
            raise DamagedCheckpoint(f"array {wrong[0]} is not what was saved" + _more(wrong))
        return arrays


@contextlib.contextmanager
def _one_complaint_only() -> Iterator[None]:
    """Keeps asyncio from printing, for each array of a part that can't be read, what its error says once."""
    log = logging.getLogger("asyncio")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception:
        gc.collect()  # The complaint comes when a failed future is forgotten.
        raise
    finally:
        log.setLevel(level)


def _parts(state: TrainState) -> dict[str, dict[str, Any]]:
    """The state as flat dicts of arrays by dotted name; random keys as their words."""
    rest = {name: getattr(state, name) for name in REST}
    parts = {"params": state.params, "ema": state.ema, "variables": state.variables, "rest": rest}
    return {name: _flat(part, name) for name, part in parts.items() if part is not None}


def _assemble(abstract: TrainState, arrays: Mapping[str, jax.Array]) -> TrainState:
    rest = {name: getattr(abstract, name) for name in REST}
    return TrainState(
        params=_fill(abstract.params, "params", arrays),
        ema=_fill(abstract.ema, "ema", arrays),
        variables=_fill(abstract.variables, "variables", arrays),
        **_fill(rest, "rest", arrays),
    )


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(prefix, path): _words(leaf) for path, leaf in leaves}


def _fill(tree: Any, prefix: str, arrays: Mapping[str, jax.Array]) -> Any:
    """The tree with its leaves taken from `arrays`."""

    def leaf(path: tuple[Any, ...], wanted: Any) -> jax.Array:
        array = arrays[_name(prefix, path)]
        is_key = jax.dtypes.issubdtype(wanted.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(array, impl=_key_kind(wanted)) if is_key else array

    return jax.tree_util.tree_map_with_path(leaf, tree)


def _name(prefix: str, path: tuple[Any, ...]) -> str:
    return prefix + "".join("." + jax.tree_util.keystr((key,), simple=True) for key in path)


def _key_kind(wanted: jax.ShapeDtypeStruct) -> Any:
    """The generator of an abstract random key; JAX tells it of traced keys only."""
    kinds = []
    jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), wanted)
    return kinds[0]


def _words(leaf: Any) -> Any:
    """A random key's words in place of the key; anything else as it is."""
    if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        words = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=leaf.sharding)
    return jax.random.key_data(leaf)


def _compare(what: str, record: Mapping[str, ArrayRecord], wanted: Mapping[str, Any]) -> None:
    """Raises unless the saved arrays have the wanted names, shapes and dtypes."""
    saved = {name: f"{array.dtype}{list(array.shape)}" for name, array in record.items()}
    needed = {name: f"{np.dtype(array.dtype)}{list(array.shape)}" for name, array in wanted.items()}
    wrong = [
        f"{name} is {saved.get(name, 'absent')} there and {needed.get(name, 'absent')} here"
        for name in sorted(saved.keys() | needed.keys())
        if saved.get(name) != needed.get(name)
    ]
    if wrong:
        raise CheckpointError(
            f"{what} is of another shape: {'; '.join(wrong[:3])}{_more(wrong, 3)}; "
            "use the settings it was trained with, or another workdir"
        )


def _more(items: list[str], shown: int = 1) -> str:
    return f" (and {len(items) - shown} more)" if len(items) > shown else ""


def _all_agree(fine: bool) -> bool:
    """Whether it went well in every process, so that all fall back together."""
    if jax.process_count() == 1:
        return fine
    return bool(np.all(multihost_utils.process_allgather(np.asarray(fine))))


def _free_name(folder: Path, step: int, source: Path) -> Path:
    """Renames a checkpoint to the first free name that marks it as damaged."""
    number = 0
    while (target := folder / f"{DAMAGED}{step}{f'-{number}' if number else ''}").exists():
        number += 1
    return source.rename(target)
