"""Visual parts of the page: queries with their clips, reconstructions, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmvideo.evaluation.report.parts.images import coloured, heated, strip
from mmvideo.evaluation.report.parts.markup import data_uri, percent, png, tag, text
from mmvideo.evaluation.report.run_data import AttentionView, ClipView, GalleryQuery, Ranked, Reconstruction


def gallery(queries: Sequence[GalleryQuery]) -> str:
    """Return every query above its best clips, by direction."""
    parts = []
    for source, target in dict.fromkeys((query.source, query.target) for query in queries):
        parts.append(tag("h3", f'{text(source)} <span class="arrow">→</span> {text(target)}'))
        parts += [_query(query) for query in queries if (query.source, query.target) == (source, target)]
    return "".join(parts)


def best_find(queries: Sequence[GalleryQuery]) -> str:
    """Return one query with its first result that can be played, right or wrong; empty if there is none."""
    for query in queries:
        shown = next((one for one in query.ranked if one.clip.media is not None), None)
        if shown is not None and query.target in ("video", "audio"):
            asked = tag("div", _shown(query.query, query.source, large=True), class_="asked")
            tile = _tile(shown, query.target)
            rank = next((one.rank for one in query.ranked if one.right), None)
            said = "" if rank is None else f"the right clip is at rank {rank} of {query.clips}"
            mark = tag("span", text(said), class_="verdict")
            return tag("article", tag("header", asked, mark), tag("div", tile, class_="tiles"), class_="query one-clip")
    return ""


def _query(query: GalleryQuery) -> str:
    asked = tag("div", _shown(query.query, query.source, large=True), class_="asked")
    rank = next((ranked.rank for ranked in query.ranked if ranked.right), None)
    which = "right clip" if query.right == 1 else f"first of {query.right} right clips"
    said = "" if rank is None else f"{which} at rank {rank} of {query.clips}"
    mark = tag("span", text(said), class_="verdict good" if rank == 1 else "verdict")
    tiles = tag("div", *(_tile(ranked, query.target) for ranked in query.ranked), class_="tiles")
    return tag("article", tag("header", asked, mark), tiles, class_="query")


def _tile(ranked: Ranked, target: str) -> str:
    label = tag("span", f"{ranked.rank}", class_="rank") + tag("span", f"{ranked.similarity:.3f}", class_="similarity")
    right = tag("span", "right", class_="right-mark") if ranked.right else ""
    foot = tag("div", label, right, class_="foot")
    return tag("div", _shown(ranked.clip, target), foot, class_="tile right" if ranked.right else "tile")


def _shown(clip: ClipView, modality: str, large: bool = False) -> str:
    """Return a clip in one modality: its caption, its video, or its audio."""
    if modality == "text":
        return tag("p", text(clip.caption or clip.id), class_="words large" if large else "words")
    name = tag("div", text(clip.caption or clip.id), class_="name", title=clip.id)
    if modality == "audio":
        sound = "" if clip.media is None else player("audio", clip)
        return tag("div", sound or tag("p", "no audio to play"), name, class_="clip sound")
    return tag("div", player("video", clip), name, class_="clip")


def player(kind: str, clip: ClipView) -> str:
    """Return a player of a clip as `video` or `audio`; its middle frame, or nothing, if it has no media."""
    if clip.media is None:
        return "" if clip.frame is None else tag("img", src=png(clip.frame), alt=clip.id, class_="still")
    # The middle frame stands in until the clip is played.
    poster = png(clip.frame) if kind == "video" and clip.frame is not None else None
    source = data_uri(clip.media, f"{kind}/mp4")
    player = tag(kind, src=source, poster=poster, controls=True, loop=True, playsinline=True, preload="metadata")
    return tag("div", player, class_="screen") if kind == "video" else player


def reconstructions(shown: Sequence[Reconstruction]) -> str:
    """Return masked input, reconstruction and original, one above the other."""
    return tag("div", *(_reconstruction(one) for one in shown), class_="pictures")


def _reconstruction(one: Reconstruction) -> str:
    stages = (("input", one.masked), ("reconstruction", one.reconstruction), ("original", one.original))
    if one.modality == "video":
        pictures = [(name, strip(value)) for name, value in stages]
    else:
        # One colour scale for all three spectrograms, or they could not be compared.
        low, high = float(np.nanmin(one.original)), float(np.nanmax(one.original))
        pictures = [(name, coloured(value, low, high)) for name, value in stages]
    rows = [tag("span", text(name), class_="row-name") + _image(picture, name) for name, picture in pictures]
    if one.modality == "audio":
        rows = [tag("div", row) for row in rows]
    shape = "beside" if one.modality == "audio" else "strips"
    head = f"{tag('b', text(one.id))} · {text(one.modality)}, {percent(one.hidden, 0)} % hidden"
    return tag("figure", tag("figcaption", head), tag("div", *rows, class_=shape), class_="picture")


def attention(shown: Sequence[AttentionView]) -> str:
    """Return frames, and below them the same frames with the attention to them."""
    clips = dict.fromkeys(one.id for one in shown)
    return tag("div", *(_attention([one for one in shown if one.id == clip]) for clip in clips), class_="pictures")


def _attention(views: Sequence[AttentionView]) -> str:
    """Return one clip: its frames, and a row for each modality that attends to them."""
    rows = [tag("span", "frames", class_="row-name") + _image(strip(views[0].frames), "frames")]
    head = tag("b", text(views[0].caption or views[0].id))
    for one in views:
        picture = _image(strip(heated(one.frames, one.weights)), f"attention of {one.source}")
        rows.append(tag("span", f"attention of {text(one.source)}", class_="row-name") + picture)
        where = ", ".join(f"{percent(share, 0)} % to {text(name)}" for name, share in one.shares.items())
        head += f"<br>{text(one.source)} in layer {one.layer}: {where}"
    return tag("figure", tag("figcaption", head), tag("div", *rows, class_="strips"), class_="picture")


def _image(picture: np.ndarray, name: str) -> str:
    height, width = picture.shape[:2]
    return tag("img", src=png(picture), alt=name, width=width, height=height)
