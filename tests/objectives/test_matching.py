"""Matching: against the whole model on clips that are re-paired as input, and draws by their probabilities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Fusion, Sharing
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import stages
from mmvideo.model.fusion.gather import TokenPool
from mmvideo.objectives import Contrastive, Matching
from mmvideo.objectives.learner import Learner

KINDS = [("video", "audio", "text"), ("video", "text"), ("audio", "text"), ("video", "audio"), ("video", "text")]
CLIPS = [random_clip(seed, kinds) for seed, kinds in enumerate([*KINDS, ("video", "audio", "text")])]
CONTRASTIVE = Contrastive(pairs=("video-text",), width=8)


def new_learner(model, matching, contrastive=CONTRASTIVE):
    """Return a learner, made in one jitted function."""
    objectives = {"matching": matching} | ({"contrastive": contrastive} if contrastive else {})

    def make():
        return Learner(model, SPEC, objectives, rngs=nnx.Rngs(0))

    return nnx.merge(nnx.graphdef(nnx.eval_shape(make)), jax.jit(lambda: nnx.state(make()))())


def on_device(stream):
    return jax.tree.map(jnp.asarray, stream)


def parts(learner):
    graph, params, variables = nnx.split(learner, nnx.Param, ...)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(variables)


SMALL = dataclasses.replace(TINY, depth=1, fusion=Fusion("early"))


class Echo(nnx.Module):
    """A backbone that returns re-paired clips' own tokens."""

    def resume(self, features, new, first):
        x, source = new.carry(features.entering[first], features.source)
        none = jnp.zeros((len(x), source.clips, 3, 0, x.shape[-1]))
        return Features((x,), source.layout, (none,), None, features.stages, features.modalities)


def made_features(stream, clips, text_room):
    """Return features of any backbone: noise in the rows of the stream, and embeddings that favour no pair."""
    draw = np.random.default_rng(0)
    top = jnp.asarray(draw.normal(size=(*stream.layout.modality.shape, 48)), jnp.float32)
    none = jnp.zeros((*stream.clips.present.shape, 0, 48))
    budgets = {"video": stream.content["video"].shape[1], "audio": stream.content["audio"].shape[1], "text": text_room}
    embedded = {
        name: (
            jnp.asarray(draw.normal(size=(*stream.clips.clip_index.shape, 8)), jnp.float32),
            stream.clips.present[..., 0],
        )
        for name in ("video", "text")
    }
    source = TokenPool.of(stream.layout, clips, budgets)
    plan = stages(Fusion("early"), 1)
    return Features((top,), stream.layout, (none,), None, plan, SPEC.modalities, (top,), source, embedded)


@pytest.mark.parametrize("text_room, left_out", [(24, 0), (4, 4)])
def test_the_loss_is_the_reference(text_room, left_out):
    """The backbone changes nothing; where rows have too little space for texts, some pairs are left out."""
    stream, slots = on_device(make_stream(CLIPS, rows=2, slots=4)), 4
    features = made_features(stream, slots, text_room)
    objective = Matching()
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(0))
    heads.eval()

    def loss(top):
        there = dataclasses.replace(features, taps=(top,), entering=(top,))
        return objective.loss(heads, there, stream, Echo())

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(features.top)
    drawn = jax.jit(lambda: objective.sample_negatives(heads, features, stream))()
    top, layout = np.asarray(features.top, np.float64), stream.layout
    texts = {
        clip: np.flatnonzero((layout.clip[clip // slots] == clip % slots) & (layout.modality[clip // slots] == 2))
        for clip in range(len(CLIPS))
    }
    pairs = []
    for row in range(2):
        found = [slot for slot in range(slots) if drawn.found[row, slot]]
        pairs += [(row * slots + slot, True) for slot in found]
        for owners in (drawn.text[row], np.arange(slots) + row * slots):
            used = 0
            for slot in found:
                size = len(texts[int(owners[slot])])
                if used + size <= 2 * text_room:
                    used += size
                    pairs.append((int(owners[slot]), False))
    kernel, bias = (np.asarray(array[...], np.float64) for array in (heads.head.dense.kernel, heads.head.dense.bias))
    total, right, wanted = 0.0, 0, np.zeros_like(top)
    for owner, matches in pairs:
        vector = top[owner // slots, texts[owner]].mean(axis=0)
        deviation = np.sqrt(vector.var() + 1e-6)
        normed = (vector - vector.mean()) / deviation
        odds = float(normed @ kernel[:, 0] + bias[0])
        chance = 1 / (1 + np.exp(-odds))
        total -= np.log(chance if matches else 1 - chance) / len(pairs)
        right += (odds > 0) == matches
        inner = (chance - matches) * kernel[:, 0]
        inner = (inner - inner.mean() - normed * (inner * normed).mean()) / deviation
        wanted[owner // slots, texts[owner]] += inner / len(pairs) / len(texts[owner])
    assert metrics["left_out"] == left_out and metrics["clips"] == 4 and len(pairs) == 12 - left_out
    np.testing.assert_allclose(value, total, rtol=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(metrics["accuracy"], right / len(pairs), rtol=1e-6)
    share = 4 / len(pairs)
    np.testing.assert_allclose(metrics["chance"], 1 - share, rtol=1e-6)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    np.testing.assert_allclose(metrics["chance_loss"], entropy, rtol=1e-5)


def test_mismatches_are_drawn_in_proportion():
    """The softmax over the clips that may be drawn: whole ones, and of no clip another view."""
    stream = on_device(make_stream(CLIPS, rows=2, slots=4))
    number = stream.clips.clip_index.at[1, 1].set(stream.clips.clip_index[0, 0])
    stream = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, clip_index=number))
    features, objective, times = made_features(stream, 4, 24), Matching(temperature=4.0), 20_000
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(0))

    @jax.jit
    def draw(count):
        own = nnx.clone(heads)
        own.draws.count.set_value(count)
        return objective.sample_negatives(own, features, stream)

    drawn = jax.lax.map(draw, jnp.arange(times, dtype=jnp.uint32), batch_size=1000)
    video, text = (np.asarray(features.embedded[name][0], np.float64).reshape(8, 8) for name in ("video", "text"))
    whole = [0, 1, 4, 5]
    assert np.flatnonzero(drawn.found.all(axis=0)).tolist() == np.flatnonzero(drawn.found.any(axis=0)).tolist() == whole
    for found, cosines in ((drawn.text, video @ text.T), (drawn.media, text @ video.T)):
        for own in whole:
            others = [other for other in whole if other != own and {own, other} != {0, 5}]
            chance = np.exp(cosines[own, others] / 4.0)
            chance /= chance.sum()
            seen = np.asarray(found).reshape(times, 8)[:, own]
            assert set(np.unique(seen)) == set(others)
            shares = [(seen == other).mean() for other in others]
            np.testing.assert_allclose(shares, chance, atol=5 * np.sqrt(0.25 / times))


def test_a_clip_alone_is_told_by_its_own_pair():
    """The odds of the true pairs of the loss, known of clips that have all of the pair."""
    stream = on_device(make_stream(CLIPS, rows=2, slots=4))
    features, objective = made_features(stream, 4, 24), Matching()
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(0))
    heads.eval()
    answer = objective.predict(heads, features, stream, Echo())
    assert np.flatnonzero(answer["known"]).tolist() == [0, 1, 4, 5]
    layout, dense = stream.layout, heads.head.dense
    for clip in (0, 1, 4, 5):
        own = (layout.clip[clip // 4] == clip % 4) & (layout.modality[clip // 4] == 2)
        vector = np.asarray(features.top, np.float64)[clip // 4, np.asarray(own)].mean(axis=0)
        normed = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-6)
        odds = normed @ np.asarray(dense.kernel[...], np.float64)[:, 0] + float(dense.bias[...][0])
        np.testing.assert_allclose(answer["odds"][clip // 4, clip % 4], odds, rtol=1e-5, atol=1e-6)


def test_training_draws_anew_and_evaluation_does_not():
    heads = Matching().heads(SMALL, SPEC, rngs=nnx.Rngs(0))
    keys = [jax.random.key_data(heads.chance()).tolist() for _ in range(3)]
    heads.eval()
    fixed = [jax.random.key_data(heads.chance()).tolist() for _ in range(2)]
    assert keys[0] != keys[1] != keys[2] and fixed[0] == fixed[1]


def test_nothing_to_match_gives_nothing():
    """One whole clip has no other to be mistaken for."""
    stream = on_device(make_stream([CLIPS[0], CLIPS[2], CLIPS[3], None], rows=2, slots=4))
    features, objective = made_features(stream, 4, 24), Matching()
    heads = objective.heads(SMALL, SPEC, rngs=nnx.Rngs(0))
    heads.eval()

    def loss(top):
        there = dataclasses.replace(features, taps=(top,), entering=(top,))
        return objective.loss(heads, there, stream, Echo())

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(features.top)
    assert value == 0 and not np.any(gradient) and not any(metrics.values())


def test_what_a_run_lacks_is_told():
    for model, spec, words in [
        (TINY, dataclasses.replace(SPEC, text=None), "matching needs text"),
        (dataclasses.replace(TINY, fusion=Fusion("late")), SPEC, "text never sees video"),
        (dataclasses.replace(TINY, fusion=Fusion("mid", 3)), SPEC, "below the depth 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            Matching().heads(model, spec, rngs=nnx.Rngs(0))
    stream = on_device(make_stream(CLIPS, rows=2, slots=4))
    heads = Matching("audio-text").heads(SMALL, SPEC, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="add a contrastive objective with the pair audio-text, or set negatives to"):
        Matching("audio-text").loss(heads, made_features(stream, 4, 24), stream, Echo())
    for settings, words in [({"pair": "video-audio"}, "must compare media with"), ({"temperature": 0.0}, "above 0")]:
        with pytest.raises(ValueError, match=words):
            Matching(**settings)


def objective_of(learner):
    return learner.objectives["matching"]


def seen(learner, stream):
    """Features with the contrastive embeddings, as the learner gives them to its objectives."""
    features = learner.trunk(stream)
    if "contrastive" not in learner.objectives:
        return features
    embedded = learner.objectives["contrastive"].embeddings(learner.heads["contrastive"], features, stream)
    return dataclasses.replace(features, embedded=embedded)


@functools.partial(jax.jit, static_argnums=0)
def run(graph, params, variables, stream):
    """Return the loss of matching with its metrics and gradient, and the drawn pairs."""

    def loss(params):
        learner = nnx.merge(graph, params, variables)
        own = objective_of(learner).loss(learner.heads["matching"], seen(learner, stream), stream, learner.trunk)
        return own[0], (own[1], nnx.to_pure_dict(nnx.state(learner, nnx.Not(nnx.Param))))

    learner = nnx.merge(graph, params, variables)
    drawn = objective_of(learner).sample_negatives(learner.heads["matching"], seen(learner, stream), stream)
    return jax.value_and_grad(loss, has_aux=True)(params), drawn


@functools.partial(jax.jit, static_argnums=0)
def run_plainly(graph, params, variables, right, wrong, counted_right, counted_wrong):
    """The same loss and gradient from streams of clips with their own and with others' texts."""

    def loss(params):
        learner = nnx.merge(graph, params, variables)
        terms = []
        for stream, counted, sign in ((right, counted_right, 1), (wrong, counted_wrong, -1)):
            odds = learner.heads["matching"](learner.trunk(stream), counted.shape[1])
            terms.append(jnp.where(counted, jnp.log1p(jnp.exp(-sign * odds)), 0).sum())
        return sum(terms) / (counted_right.sum() + counted_wrong.sum())

    return jax.value_and_grad(loss)(params)


def mismatched_clips(clips, drawn, slots):
    """The drawn pairs as clips: each clip's media with its text, each clip's text with its media."""
    pairs = []
    for number in range(len(clips)):
        row, slot = divmod(number, slots)
        if drawn.found[row, slot]:
            pairs += [(number, int(drawn.text[row, slot])), (int(drawn.media[row, slot]), number)]
    media = [{name: part for name, part in clips[one].items() if name != "text"} for one, _ in pairs]
    return [clip | {"text": clips[other]["text"]} for clip, (_, other) in zip(media, pairs, strict=True)], pairs


VARIANTS = {
    "mid": (TINY, Matching(), CONTRASTIVE),
    "joint": (TINY, Matching("video+audio-text"), Contrastive(pairs=("video+audio-text",), width=8)),
    "causal early": (
        dataclasses.replace(TINY, depth=1, fusion=Fusion("early", text="causal")),
        Matching(negatives="uniform"),
        None,
    ),
    "narrow": (
        dataclasses.replace(
            TINY,
            depth=2,
            fusion=Fusion("bottleneck", 1, bottlenecks=2),
            sharing=Sharing("nothing", "nothing"),
            class_tokens=1,
            registers=1,
        ),
        Matching("text-video", pooling="class"),
        CONTRASTIVE,
    ),
}


@pytest.mark.slow(reason="compiles a learner for each variant")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_that_of_clips_put_together_anew(variant):
    learner = new_learner(*VARIANTS[variant])
    slots, stream = 4, on_device(make_stream(CLIPS, rows=2, slots=4))
    ((value, (metrics, _)), gradient), drawn = run(*parts(learner), stream)
    wanted = [number for number, clip in enumerate(CLIPS) if {*objective_of(learner).media, "text"} <= set(clip)]
    assert np.flatnonzero(drawn.found).tolist() == wanted

    clips, pairs = mismatched_clips(CLIPS, drawn, slots)
    assert all(one != other and {one, other} <= set(wanted) for one, other in pairs)
    wrong = on_device(make_stream(clips, rows=len(clips), slots=1))
    everything = jnp.ones((len(clips), 1), bool)
    total, plain = run_plainly(*parts(learner), stream, wrong, drawn.found, everything)
    np.testing.assert_allclose(value, total, rtol=2e-5)
    for (path, one), other in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6, err_msg=jax.tree_util.keystr(path))
    assert (metrics["clips"], metrics["left_out"]) == (len(wanted), 0)
    np.testing.assert_allclose(metrics["chance"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["chance_loss"], np.log(3) - 2 / 3 * np.log(2), rtol=1e-5)
