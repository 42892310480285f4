"""Texts that are written: as plainly growing texts would be, whatever stands beside them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from captioned import BEGIN, END, SILENT_MARKS, SMALL, SPEC, caption
from flax import nnx
from synthetic_streams import make_stream, part, random_clip

from mmvideo.objectives import Captioning, Contrastive
from mmvideo.objectives.generation.config import Decoding
from mmvideo.objectives.generation.text_generation import Prompt, generate
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding, shardings
from mmvideo.stream import Modality

TEXTS = {0: [7, 8, 9, 10], 1: [7, 8, 11], 3: [12]}
"""Captions that the learner knows by heart, by the clip's number."""

STRANGERS = ((20, ("video",)), (21, ("video", "audio")), (22, ("audio",)))
"""Clips that it has never seen."""

LONGEST = SPEC.text.length


def on_device(stream):
    return jax.tree.map(jnp.asarray, stream)


def known_clips():
    """Two clips that begin alike, a silent one, and one without anything but a caption."""
    kinds = {0: ("video", "audio", "text"), 1: ("video", "text"), 3: ("audio", "text")}
    return [
        caption(seed, kinds[seed], TEXTS[seed]) if seed in TEXTS else caption(seed, ("text",), [30])
        for seed in range(4)
    ]


def silent(clip):
    return {name: tokens for name, tokens in clip.items() if name != "text"}


def strangers():
    return [random_clip(seed, kinds, hide=False) for seed, kinds in STRANGERS]


@pytest.fixture(scope="module")
def learner():
    """Contrastive learning and captioning of one forward pass, trained until three captions are known by heart."""
    objectives = {"contrastive": Contrastive(pairs=("video-text",), width=8), "captioning": Captioning()}
    graph, state = nnx.split(nnx.eval_shape(lambda: Learner(SMALL, SPEC, objectives, rngs=nnx.Rngs(0))))
    state = jax.jit(lambda: nnx.state(Learner(SMALL, SPEC, objectives, rngs=nnx.Rngs(0))))()
    stream, optimizer = on_device(make_stream(known_clips(), 2, 3, spec=SPEC)), optax.adam(1e-2)

    @jax.jit
    def train(state):
        def step(carried, _):
            state, moments = carried
            loss = jax.value_and_grad(lambda state: nnx.merge(graph, state).losses(stream), has_aux=True)
            (_, metrics), gradient = loss(state)
            updates, moments = optimizer.update(gradient, moments)
            return (optax.apply_updates(state, updates), moments), metrics

        return jax.lax.scan(step, (state, optimizer.init(state)), length=60)

    (state, _), metrics = train(state)
    assert metrics["captioning/accuracy"][-1] == 1 and metrics["contrastive/video-text/accuracy"][-1] == 1
    return nnx.merge(graph, state)


@pytest.fixture(scope="module")
def unsure(learner):
    """The same with noise on its weights: it is of two minds, and its texts have different lengths."""
    graph, state = nnx.split(learner)
    leaves, form = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [leaf + 0.15 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return nnx.merge(graph, jax.tree.unflatten(form, leaves))


@functools.partial(jax.jit, static_argnums=(0, 3))
def jitted(graph, state, stream, decoding, prompt, key):
    learner = nnx.merge(graph, state)
    return Captioning().generate(learner.heads["captioning"], stream, learner.trunk, decoding, prompt, key)


def write(learner, clips, decoding=Decoding(), prompt=None, key=None, rows=2, slots=3):
    stream = on_device(make_stream(clips, rows, slots, spec=SPEC, hidden=()))
    return jitted(*nnx.split(learner), stream, decoding, prompt, key)


@functools.partial(jax.jit, static_argnums=0)
def next_chances(graph, state, stream):
    """Return the log probability of the token after the last one of the only clip of every row."""
    learner = nnx.merge(graph, state)
    top = learner.trunk(stream).top
    last = stream.layout.is_token.sum(axis=1) - 1
    tokens = jnp.take_along_axis(top, last[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(learner.heads["captioning"].logits(tokens))


def chances_of(learner, clip, texts, rows=4):
    """Return the log probabilities of the next token of some texts of a clip, each run as a stream of its own."""
    clips = [{**clip, "text": part(np.array(text, np.int32), None)} for text in texts]
    stream = on_device(make_stream(clips + [None] * (rows - len(clips)), rows, 1, spec=SPEC, hidden=()))
    chances = np.array(next_chances(*nnx.split(learner), stream), np.float64)[: len(texts)]
    chances[:, [BEGIN, SPEC.text.mask_id]] = -np.inf
    return chances


def slow_search(learner, clip, beams=1, alpha=0.0, begin=(BEGIN,)):
    """Beam search over texts that really grow; with one beam, greedy."""
    live, ended = [(0.0, list(begin))], []

    def rank(score, text):
        return score / ((5 + len(text) - len(begin)) / 6) ** alpha, score, text

    while live and len(live[0][1]) < LONGEST:
        grown = []
        for (score, text), each in zip(live, chances_of(learner, clip, [t for _, t in live]), strict=True):
            grown += [(score + chance, [*text, piece]) for piece, chance in enumerate(each)]
        grown = sorted(grown, key=lambda pair: -pair[0])[: 1 if beams == 1 else 2 * beams]
        ended += [rank(*pair) for pair in grown if pair[1][-1] == END]
        live = [pair for pair in grown if pair[1][-1] != END][:beams]
    ended += [rank(*pair) for pair in live]
    return max(ended)[1:]


def whole(text):
    return text + [END] * (LONGEST - len(text))


def test_a_caption_known_by_heart_is_written(learner):
    found = write(learner, [silent(clip) for clip in known_clips()])
    assert found.written.tolist() == [[True, True, False], [True, False, False]]
    for number, text in TEXTS.items():
        row, slot = divmod(number, 3)
        assert found.text_tokens[row, slot].tolist() == whole([BEGIN, *text, END])
        assert np.exp(found.score[row, slot]) > 0.5
    assert found.steps == 4, "the longest caption has five pieces, of which the last is never read"
    alone = write(learner, [silent(known_clips()[3])])
    assert alone.text_tokens[0, 0].tolist() == whole([BEGIN, *TEXTS[3], END]) and alone.steps == 1


def test_captions_that_are_there_change_nothing(learner):
    with_text, without = (write(learner, clips) for clips in (known_clips(), [silent(c) for c in known_clips()]))
    there = np.asarray(without.written)
    np.testing.assert_array_equal(with_text.text_tokens[there], without.text_tokens[there])
    np.testing.assert_allclose(with_text.score[there], without.score[there], atol=1e-4)


@pytest.mark.parametrize(
    "decoding, beams, alpha",
    [
        (Decoding(), 1, 0.0),
        (Decoding("beam", beams=3), 3, 0.0),
        (Decoding("beam", beams=3, length_penalty=2.0), 3, 2.0),
    ],
    ids=["greedy", "beam", "long"],
)
def test_what_is_written_is_what_a_slow_search_finds(unsure, decoding, beams, alpha):
    """Of packed rows of different lengths: three clips beside each other, and two."""
    clips = [silent(clip) for clip in known_clips()[:2]] + strangers()
    found = write(unsure, clips, decoding)
    texts = []
    for place, clip in enumerate(clips):
        score, text = slow_search(unsure, clip, beams, alpha)
        row, slot = divmod(place, 3)
        assert found.text_tokens[row, slot].tolist() == whole(text)
        np.testing.assert_allclose(found.score[row, slot], score, rtol=1e-4)
        texts.append(text)
    assert len({len(text) for text in texts}) > 1
    assert beams == 1 or (found.text_tokens != write(unsure, clips).text_tokens).any(), (
        "another search finds other texts"
    )


def test_the_score_is_that_of_one_pass_over_the_whole_text(unsure):
    """Logits from the cache are those of a forward pass over clips with the drawn texts, all of them packed."""
    clips = strangers()
    found = write(unsure, clips, Decoding("sample", temperature=3.0, seed=4))
    drawn = [text[: text.index(END) + 1] if END in text else text for text in found.text_tokens[0].tolist()]
    assert len({len(text) for text in drawn}) > 1
    told = [{**c, "text": part(np.array(t, np.int32), None)} for c, t in zip(clips, drawn, strict=True)]
    stream = on_device(make_stream(told, 2, 3, spec=SPEC, hidden=()))
    top = nnx.jit(lambda backbone, stream: backbone(stream).top)(unsure.trunk, stream)
    chances = np.asarray(jax.nn.log_softmax(unsure.heads["captioning"].logits(top)), np.float64)[0]
    for slot, text in enumerate(drawn):
        own = (stream.layout.clip[0] == slot) & (stream.layout.modality[0] == Modality.TEXT)
        each = chances[np.flatnonzero(own)[:-1], text[1:]]
        np.testing.assert_allclose(found.score[0, slot], each.sum(), atol=1e-4)


def test_drawing_from_one_piece_is_greedy(unsure):
    greedy, drawn = (write(unsure, strangers(), each) for each in (Decoding(), Decoding("sample", top_k=1, seed=3)))
    np.testing.assert_array_equal(drawn.text_tokens, greedy.text_tokens)
    np.testing.assert_allclose(drawn.score, greedy.score, atol=1e-6)


def test_what_is_drawn_depends_on_the_clip_not_on_its_place(unsure):
    decoding = Decoding("sample", temperature=2.0)
    clips = strangers()
    first = write(unsure, clips, decoding)
    stream = make_stream([clips[2], clips[0], None, clips[1]], 2, 3, spec=SPEC, hidden=())
    number = np.full_like(stream.clips.clip_index, -1)
    number[0, :2], number[1, 0] = (2, 0), 1
    stream = on_device(dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, clip_index=number)))
    moved = jitted(*nnx.split(unsure), stream, decoding, None, None)
    for slot, (row, column) in enumerate([(0, 1), (1, 0), (0, 0)]):
        assert moved.text_tokens[row, column].tolist() == first.text_tokens[0, slot].tolist()
    other, same, keyed = (
        write(unsure, clips, dataclasses.replace(decoding, seed=seed), key=key)
        for seed, key in ((1, None), (0, None), (5, jax.random.key(0)))
    )
    assert (other.text_tokens[0] != first.text_tokens[0]).any()
    np.testing.assert_array_equal(same.text_tokens, first.text_tokens)
    np.testing.assert_array_equal(keyed.text_tokens, first.text_tokens)


def test_texts_go_on_from_their_prompts(unsure):
    """Prompts of three lengths, one of which fills a whole text."""
    clips, prompts = strangers(), [[7], [13, 14, 15], list(range(5, 12))]
    text_tokens = np.zeros((2, 3, 7), np.int32)
    for slot, prompt in enumerate(prompts):
        text_tokens[0, slot, : len(prompt)] = prompt
    length = np.array([[len(prompt) for prompt in prompts], [0, 0, 0]], np.int32)
    for decoding, beams in ((Decoding(), 1), (Decoding("beam", beams=2), 2)):
        found = write(unsure, clips, decoding, Prompt(text_tokens, length))
        assert found.given[0].tolist() == [2, 4, 8]
        for slot, (clip, prompt) in enumerate(zip(clips[:2], prompts, strict=False)):
            score, text = slow_search(unsure, clip, beams, begin=(BEGIN, *prompt))
            assert found.text_tokens[0, slot].tolist() == whole(text) and text[1 : 1 + len(prompt)] == prompt
            np.testing.assert_allclose(found.score[0, slot], score, rtol=1e-4)
        assert found.text_tokens[0, 2].tolist() == [BEGIN, *prompts[2]] and found.score[0, 2] == 0


def test_one_prompt_for_all(unsure):
    found = write(unsure, strangers(), prompt=Prompt(np.array([7, 8], np.int32)))
    assert (found.given == 3).all() and (found.text_tokens[0, :, :3] == jnp.array([BEGIN, 7, 8])).all()
    score, text = slow_search(unsure, strangers()[1], begin=(BEGIN, 7, 8))
    assert found.text_tokens[0, 1].tolist() == whole(text)
    np.testing.assert_allclose(found.score[0, 1], score, rtol=1e-4)


def test_a_clip_without_media_gets_a_text_if_asked(learner):
    """Its text knows of no clip: it is as that of an empty one."""
    clips = [strangers()[0], {"text": part(np.array([BEGIN, 30, END], np.int32), None)}]
    assert write(learner, clips).written[0].tolist() == [True, False, False]
    found = write(learner, clips, Decoding(without_media=True))
    assert found.written[0].tolist() == [True, True, False]
    score, text = slow_search(learner, {}, 1)
    assert found.text_tokens[0, 1].tolist() == whole(text)
    np.testing.assert_allclose(found.score[0, 1], score, rtol=1e-4)


def test_marks_are_never_written_and_no_text_is_too_short_or_too_long(learner):
    text = dataclasses.replace(SPEC.text, pad_id=0)
    stream = on_device(make_stream(strangers(), 1, 3, spec=SPEC, hidden=()))
    likely = jnp.zeros(text.vocabulary).at[jnp.array([0, BEGIN, END, text.mask_id, 17])].set(jnp.arange(9, 4, -1.0))

    def logits(tokens):
        return jnp.broadcast_to(likely, (*tokens.shape[:-1], text.vocabulary))

    @functools.partial(nnx.jit, static_argnums=1)
    def write_likely(backbone, decoding):
        return generate(backbone, logits, text, stream, jnp.ones((1, 3), bool), decoding)

    for decoding in (Decoding(shortest=2), Decoding("beam", beams=2, shortest=2)):
        found = write_likely(learner.trunk, decoding)
        assert found.text_tokens[0, 0].tolist() == whole([BEGIN, 17, 17, END])
    cut = write_likely(learner.trunk, Decoding(length=4, shortest=9))
    assert cut.text_tokens.shape == (1, 3, 4) and cut.text_tokens[0, 0].tolist() == [BEGIN, 17, 17, 17]
    assert cut.steps == 2


@pytest.mark.slow(reason="compiles decoding for two meshes")
def test_rows_of_a_mesh_give_the_texts_of_one_device(learner):
    """Rows over four devices and their tokens over two; or rows and weights over four, and heads over two."""
    clips = [clip for seed in range(30, 38) for clip in (random_clip(seed, hide=False), None)]
    stream = make_stream(clips, 8, 2, spec=SPEC, hidden=())
    graph, state = nnx.split(learner)
    for decoding in (Decoding("beam", beams=2), Decoding("sample", temperature=2.0)):
        alone = jitted(graph, *jax.device_put((state, stream), jax.devices()[0]), decoding, None, None)
        for shape in (Mesh(4, context=2), Mesh(2, 2, 2)):
            mesh = make_mesh(shape)
            split = jax.device_put(state, shardings(state, mesh))
            spread = jax.device_put(stream, batch_sharding(mesh))
            with jax.set_mesh(mesh):
                found = jitted(graph, split, spread, decoding, None, None)
            np.testing.assert_array_equal(found.text_tokens, alone.text_tokens)
            np.testing.assert_allclose(found.score, alone.score, atol=1e-4)
            assert found.text_tokens.sharding.shard_shape(found.text_tokens.shape)[0] <= 2


def test_what_can_not_be_written_is_told(learner):
    stream = on_device(make_stream([random_clip(0)], 1, 1))
    heads = Captioning().heads(SMALL, SILENT_MARKS, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="set input.text.begin to True"):
        Captioning().generate(heads, stream, learner.trunk)
    heads = learner.heads["captioning"]
    with pytest.raises(ValueError, match="decoding.length 9 is more than input.text.length 8"):
        Captioning().generate(heads, stream, learner.trunk, Decoding(length=9))
    with pytest.raises(ValueError, match="a prompt of 8 tokens"):
        Captioning().generate(heads, stream, learner.trunk, prompt=Prompt(np.zeros(8, np.int32)))
