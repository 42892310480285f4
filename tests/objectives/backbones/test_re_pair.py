"""Re-paired clips have the same rows as the input pipeline would give them."""

import jax.numpy as jnp
import numpy as np
from synthetic_streams import make_stream, random_clip

from mmvideo.model.fusion.gather import TokenPool
from mmvideo.model.fusion.re_pair import re_pair_stream
from mmvideo.stream import PADDING

KINDS = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("text",)]


def tokens_of(layout, row, slot, kind):
    return np.flatnonzero((layout.clip[row] == slot) & (layout.modality[row] == kind))


def test_new_rows_hold_the_tokens_of_both_owners():
    layout = make_stream([random_clip(seed, kinds) for seed, kinds in enumerate(KINDS)], rows=2, slots=3).layout
    draw = np.random.default_rng(0)
    media, text = draw.integers(0, 6, (2, 4, 3))[:, :, :]
    wanted = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    source = TokenPool.of(layout, 3, {"video": 18, "audio": 18, "text": 18})
    new = re_pair_stream(source, jnp.asarray(media), jnp.asarray(text), jnp.asarray(wanted))
    assert new.fits.tolist() == wanted.tolist()
    assert new.budgets == (("video", 18), ("audio", 18), ("text", 36)) and new.layout.modality.shape == (4, 72)
    for row in range(4):
        place = 0
        for slot in range(3):
            owners = (media[row, slot], media[row, slot], text[row, slot])
            assert new.owner[row, slot].tolist() == list(owners)
            for kind, owner in enumerate(owners if wanted[row, slot] else ()):
                for token in tokens_of(layout, owner // 3, owner % 3, kind):
                    assert new.token[row, place] == owner // 3 * layout.modality.shape[1] + token
                    assert (new.layout.clip[row, place], new.layout.modality[row, place]) == (slot, kind)
                    assert new.layout.time[row, place] == layout.time[owner // 3, token]
                    np.testing.assert_array_equal(new.layout.grid[row, place], layout.grid[owner // 3, token])
                    place += 1
        assert (new.layout.modality[row, place:] == PADDING).all() and (new.layout.clip[row, place:] == PADDING).all()


def test_a_clip_that_finds_no_room_is_left_out_and_the_next_is_tried():
    """Clips 0 and 3 have 4 tokens of video and of audio, clip 1 has 4 of video, and all have 6 of text."""
    layout = make_stream([random_clip(seed, kinds) for seed, kinds in enumerate(KINDS)], rows=2, slots=3).layout
    media, text = jnp.array([[0, 3, 1]]), jnp.array([[1, 1, 1]])
    for video, audio, words, fits in [
        (12, 12, 9, [True, True, True]),
        (8, 12, 9, [True, True, False]),
        (12, 4, 9, [True, False, True]),
        (12, 12, 6, [True, True, False]),
        (4, 3, 9, [False, False, True]),
    ]:
        source = TokenPool.of(layout, 3, {"video": video, "audio": audio, "text": words})
        new = re_pair_stream(source, media, text, jnp.ones((1, 3), bool))
        assert new.fits.tolist() == [fits], (video, audio, words)
        counts = [int((new.layout.clip == slot).sum()) for slot in range(3)]
        assert counts == [size * kept for size, kept in zip([14, 14, 10], fits, strict=True)]
