"""The unmasked stream holds the content of the clips from before masking."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.fusion.unmask import original_text_ids, unmask_batch
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import MODALITIES, PADDING

CLIPS = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("text",)]


def clips(hide, modalities=MODALITIES):
    chosen = [[name for name in kinds if name in modalities] for kinds in CLIPS]
    return [random_clip(seed, kinds, hide=hide) for seed, kinds in enumerate(chosen)]


def held(stream):
    """Content, time of every token by row, clip slot, modality and cell."""
    base = np.cumsum([0] + [stream.content[name].shape[1] if name in stream.content else 0 for name in MODALITIES])
    found = {}
    for row, place in zip(*np.nonzero(np.asarray(stream.layout.is_token)), strict=True):
        modality = int(stream.layout.modality[row, place])
        content = stream.content[MODALITIES[modality]][row, stream.layout.source_index[row, place] - base[modality]]
        key = (row, int(stream.layout.clip[row, place]), modality, *np.asarray(stream.layout.grid[row, place]).tolist())
        assert key not in found
        found[key] = (np.asarray(content).tolist(), float(stream.layout.time[row, place]))
    return found


@pytest.mark.parametrize("hidden", [MODALITIES, ("audio",), ("video", "text"), ("text",), ()], ids=str)
def test_everything_is_back(hidden):
    shown = [name for name in MODALITIES if name not in hidden]
    masked = [
        {**clip, **{name: whole[name] for name in shown if name in whole}}
        for clip, whole in zip(clips(True), clips(False), strict=True)
    ]
    full = unmask_batch(make_stream(masked, rows=2, slots=3, hidden=hidden))
    assert full.decode is None
    assert held(full) == held(make_stream(clips(False), rows=2, slots=3, hidden=()))
    # A clip's tokens stand together, modality by modality, padding behind all.
    number = np.where(full.layout.is_token, full.layout.clip * 3 + full.layout.modality, 99)
    assert (np.diff(number, axis=1) >= 0).all()


def test_targets_say_where_the_hidden_tokens_stand():
    stream = make_stream(clips(True), rows=2, slots=3)
    full = unmask_batch(stream)
    base = np.cumsum([0, full.content["video"].shape[1], full.content["audio"].shape[1]])
    for number, name in enumerate(MODALITIES):
        target = full.targets[name]
        assert (target.target_index != PADDING).sum() == (stream.targets[name].target_index != PADDING).sum() > 0
        for row, slot in zip(*np.nonzero(np.asarray(target.target_index) != PADDING), strict=True):
            place = target.target_index[row, slot]
            assert full.layout.modality[row, place] == number
            assert full.layout.clip[row, place] == target.clip[row, slot]
            content = full.content[name][row, full.layout.source_index[row, place] - base[number]]
            np.testing.assert_array_equal(content, target.content[row, slot])


def test_hidden_pieces_are_put_back():
    masked, whole = (make_stream(clips(hide), rows=2, slots=3) for hide in (True, False))
    assert (masked.content["text"] == SPEC.text.mask_id).sum() == 8
    np.testing.assert_array_equal(original_text_ids(masked), whole.content["text"])


def test_the_trunk_sees_the_clips_as_if_nothing_had_been_hidden():
    backbone = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    full, whole = unmask_batch(make_stream(clips(True), 2, 3)), make_stream(clips(False), 2, 3)
    for mine, wanted in zip(backbone(full).taps, backbone(whole).taps, strict=True):
        sums = []
        for tokens, layout in ((mine, full.layout), (wanted, whole.layout)):
            weight = jnp.cos(layout.grid @ jnp.array([1.0, 3.0, 5.0]) + 7 * layout.clip + 20 * layout.modality)
            sums.append(jnp.einsum("bl,bld->bd", jnp.where(layout.is_token, weight, 0), tokens))
        np.testing.assert_allclose(*sums, rtol=1e-5, atol=1e-4)
