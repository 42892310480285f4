"""Images of a model's behaviour: frames from patches, reconstructions, attention over frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Int, Num

from mmvideo.evaluation.inference import Place, to_host
from mmvideo.evaluation.report.parts.images import HIDDEN
from mmvideo.evaluation.report.run_data import AttentionView, Reconstruction
from mmvideo.model.config import model_dims
from mmvideo.stream import MODALITIES, PADDING, Modality, PatchSpec, StreamSpec, TokenStream


def unpatchify(
    patches: Num[np.ndarray, "n P"],
    cells: Int[np.ndarray, "n 3"],
    spec: PatchSpec,
    grid: tuple[int, int, int],
    fill: int | float,
) -> np.ndarray:
    """Return frames or a spectrogram from patches.

    Args:
      patches: Values of each patch, flattened in the order of `spec.patch`.
      cells: Cell `(t, y, x)` of each patch.
      spec: Size of a patch: `(t, y, x, 3)` of video or `(t, mel)` of audio.
      grid: Number of cells along each axis.
      fill: Value of cells without a patch.

    Returns:
      Frames `[T, H, W, 3]`, or a spectrogram `[T, M]` (overlapping patches are put side by side), of the patches' type.
    """
    canvas = np.full((*grid, spec.size), fill, patches.dtype)
    # One patch a cell: the einops pattern then splits each into its t, y and x extent.
    canvas[tuple(cells.T)] = patches
    if len(spec.patch) == 4:
        t, y, x, _ = spec.patch
        return rearrange(canvas, "T Y X (t y x c) -> (T t) (Y y) (X x) c", t=t, y=y, x=x)
    return rearrange(canvas, "T M 1 (t m) -> (T t) (M m)", t=spec.patch[0])


def reconstructions(
    learner: nnx.Module,
    stream: TokenStream,
    clip_id: Callable[[int], str],
    place: Place | None = None,
    count: int = 4,
) -> list[Reconstruction]:
    """Return masked input and reconstruction of the first clips of a batch; an empty list without a masked objective.

    Args:
      learner: Learner whose objectives may have a `reconstruct`.
      stream: Batch with hidden patches.
      clip_id: Function from a clip's index to its id.
      place: Function that puts the batch onto the devices.
      count: Number of clips of each modality.
    """
    if not any(hasattr(objective, "reconstruct") for objective in learner.objectives.values()):
        return []
    graph, state = nnx.split(learner)
    answers, stream = to_host(_reconstruct(graph, state, stream if place is None else place(stream)))
    pictures = []
    note = _note(learner)
    for name in [name for name in MODALITIES if name in answers]:
        clips = [spot for spot in _clips(stream, name) if _hidden(stream, name, *spot).any()]
        for row, slot in clips[:count]:
            number = int(stream.clips.clip_index[row, slot])
            picture = _picture(stream, learner.trunk.spec, name, answers[name], row, slot)
            pictures.append(Reconstruction(clip_id(number), name, *picture, note))
    return pictures


def _note(learner: nnx.Module) -> str:
    """Return the note that readers need if an objective predicts normalised patches."""
    if any(getattr(objective, "normalises", False) for objective in learner.objectives.values()):
        return (
            "This objective predicts patches without their own mean and contrast; both are restored from the original, "
            "so judge only the structure inside a patch."
        )
    return ""


@functools.partial(jax.jit, static_argnums=0)
def _reconstruct(graph: nnx.GraphDef, state: Any, stream: TokenStream) -> tuple[dict[str, jax.Array], TokenStream]:
    """Return the predicted patches by modality in the units of the targets, and their batch."""
    learner = nnx.merge(graph, state)
    learner.eval()
    features = learner.trunk(stream)
    answers: dict[str, jax.Array] = {}
    for name, objective in learner.objectives.items():
        if hasattr(objective, "reconstruct"):
            # The first objective with an answer for a modality wins.
            answers = objective.reconstruct(learner.heads[name], features, stream) | answers
    return answers, stream


def _clips(stream: TokenStream, modality: str) -> list[tuple[int, int]]:
    """Return row and slot of the clips with a modality, first the first clip of every row, then the second."""
    has = (stream.clips.clip_index != PADDING) & stream.clips.present[..., MODALITIES.index(modality)]
    return sorted(((int(row), int(slot)) for row, slot in np.argwhere(has)), key=lambda spot: (spot[1], spot[0]))


def _tokens(stream: TokenStream, modality: str, row: int, slot: int) -> np.ndarray:
    """Return the index in the row of a clip's tokens of one modality."""
    layout = stream.layout
    return np.flatnonzero((layout.clip[row] == slot) & (layout.modality[row] == MODALITIES.index(modality)))


def _hidden(stream: TokenStream, modality: str, row: int, slot: int) -> np.ndarray:
    """Return a mask of the target slots with a clip's hidden patches."""
    targets = stream.targets[modality]
    return (targets.clip[row] == slot) & (targets.target_index[row] != PADDING)


def content_of(stream: TokenStream, modality: str, row: int, slot: int) -> tuple[np.ndarray, np.ndarray]:
    """Return content and cell of the visible tokens of one modality of a clip."""
    tokens = _tokens(stream, modality, row, slot)
    # The source index counts through the content of all modalities: with 10 video and 6 audio tokens, audio token 2 is
    # 12.
    before = [name for name in MODALITIES[: MODALITIES.index(modality)] if name in stream.content]
    offset = sum(stream.content[name].shape[1] for name in before)
    return stream.content[modality][row, stream.layout.source_index[row, tokens] - offset], stream.layout.grid[
        row, tokens
    ]


def _picture(
    stream: TokenStream, spec: StreamSpec, modality: str, answer: np.ndarray, row: int, slot: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return masked, reconstructed and original image of a clip, and the share of hidden patches."""
    patch = getattr(spec, modality)
    seen, seen_cells = content_of(stream, modality, row, slot)
    hidden = _hidden(stream, modality, row, slot)
    targets = stream.targets[modality]
    cells = stream.decode.grid[row, targets.target_index[row][hidden]]
    # Visible and hidden cells together are the whole grid, so its size is their maximum plus one.
    every = np.concatenate([seen_cells, cells])
    grid = tuple(int(size) for size in every.max(axis=0) + 1)
    fill = HIDDEN if modality == "video" else np.nan
    guess = answer[row][hidden]
    if modality == "video":
        guess = np.clip(np.rint(guess), 0, 255).astype(np.uint8)

    def whole(patches: np.ndarray) -> np.ndarray:
        together = np.concatenate([seen, patches.astype(seen.dtype)])
        return unpatchify(together, every, patch, grid, fill)

    masked = unpatchify(seen, seen_cells, patch, grid, fill)
    return masked, whole(guess), whole(targets.content[row][hidden]), len(cells) / len(every)


def attention_views(
    learner: nnx.Module,
    stream: TokenStream,
    clip_id: Callable[[int], str],
    caption: Callable[[int], str],
    place: Place | None = None,
    count: int = 4,
    layer: int | None = None,
) -> list[AttentionView]:
    """Return the attention of text and audio to the frames of their clip, for one clip of each of the first rows.

    If neither of them sees the frames (late fusion), it is the attention of the frames to each other.

    Args:
      learner: Learner; without a backbone with `attention_map` over every video token, there are no views.
      stream: Batch without hidden tokens.
      clip_id: Function from a clip's index to its id.
      caption: Function from a clip's index to its first caption.
      place: Function that puts the batch onto the devices.
      count: Number of clips.
      layer: Layer of the attention. None is the last.
    """
    backbone = learner.trunk
    if (
        backbone.spec.video is None
        or not hasattr(backbone, "attention_map")
        or backbone.config.video_encoder is not None
    ):
        return []
    layer = model_dims(learner.trunk.config).depth - 1 if layer is None else layer
    rows = min(count, stream.layout.modality.shape[0])
    graph, state = nnx.split(learner)
    weights, stream = to_host(_attend(graph, state, stream if place is None else place(stream), layer, rows))
    views = []
    for row, slot in [spot for spot in _clips(stream, "video") if spot[0] < rows][:count]:
        seen = [(name, *_looks(weights[row], stream, name, row, slot)) for name in ("text", "audio", "video")]
        # Late fusion gives text and audio no attention to video: then the attention of video itself is shown.
        crossing = [one for one in seen[:2] if one[1].sum() > 0]
        for source, cells, shares in crossing or seen[2:]:
            patches, places = content_of(stream, "video", row, slot)
            grid = tuple(int(size) for size in places.max(axis=0) + 1)
            heat = np.zeros(grid, np.float32)
            heat[tuple(places.T)] = cells / max(float(cells.sum()), 1e-30)
            frames = unpatchify(patches, places, learner.trunk.spec.video, grid, HIDDEN)
            number = int(stream.clips.clip_index[row, slot])
            views.append(AttentionView(clip_id(number), caption(number), source, layer, frames, heat, shares))
    return views


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _attend(graph: nnx.GraphDef, state: Any, stream: TokenStream, layer: int, rows: int) -> tuple[Any, TokenStream]:
    """Return the attention of one layer in the first rows, averaged over heads, `[rows, L, L]`, and these rows."""
    learner = nnx.merge(graph, state)
    learner.eval()
    stream = jax.tree.map(lambda array: array[:rows], stream)
    return learner.trunk.attention_map(stream, layer).mean(axis=1), stream


def _looks(
    weights: np.ndarray, stream: TokenStream, source: str, row: int, slot: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Return the mean attention of a clip's tokens of one modality: to each video token, and to each modality."""
    queries = _tokens(stream, source, row, slot)
    keys = {modality.name.lower(): _tokens(stream, modality.name.lower(), row, slot) for modality in Modality}
    if not len(queries):
        return np.zeros(len(keys["video"])), {}
    mean = weights[queries].mean(axis=0)
    return mean[keys["video"]], {name: float(mean[places].sum()) for name, places in keys.items() if len(places)}
