"""HTML of the inspection page: an overview of the split, then a card for each clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus, Record

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f5f6f8;--ink:#1b1f27;--soft:#646b79;--line:#dfe2e8;--blue:#2b63d9;
--tint:#e6edfd;--gone:#e8ebf1}
@media (prefers-color-scheme:dark){:root{--paper:#14171c;--card:#1c2027;--ink:#e6e9ef;--soft:#98a0ae;--line:#303641;
--blue:#7ba6ff;--tint:#27324b;--gone:#2a303a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:36px 28px 80px}
h1{font-size:30px;line-height:1.15;margin:0;letter-spacing:-.02em}h1 span{color:var(--soft);font-weight:400}
h2{font-size:12px;font-weight:600;margin:0 0 10px;color:var(--soft)}
.where{color:var(--soft);margin:6px 0 26px;font-size:13px;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:14px 40px;margin:0 0 28px}
.facts b{display:block;font-size:26px;line-height:1.2;font-weight:650;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}.facts span{color:var(--soft);font-size:13px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:18px;margin-bottom:38px}
.chart,.clip{background:var(--card);border:1px solid var(--line);border-radius:12px}
.chart{padding:16px 18px;display:flex;flex-direction:column}
.bar{display:grid;grid-template-columns:minmax(70px,38%) 1fr 44px;gap:10px;align-items:center;
font-size:13px;line-height:1.65}
.bar i{display:block;height:9px;border-radius:3px;background:var(--blue);min-width:2px}
.bar span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar em{font-style:normal;color:var(--soft);text-align:right;font-variant-numeric:tabular-nums}
.lengths{display:flex;align-items:flex-end;gap:2px;flex:1;min-height:110px;border-bottom:1px solid var(--line)}
.lengths i{flex:1;background:var(--blue);border-radius:3px 3px 0 0}
.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:12px;font-variant-numeric:tabular-nums}
.clip{padding:18px;margin:0 0 18px;display:grid;grid-template-columns:minmax(0,1fr) 296px;gap:6px 22px}
.head{grid-column:1/-1;display:flex;flex-wrap:wrap;align-items:center;gap:6px 10px;min-height:28px}
.head code{font:600 14px ui-monospace,Menlo,Consolas,monospace;margin-right:4px;overflow-wrap:anywhere}
.head small{margin-left:auto;color:var(--soft);font-variant-numeric:tabular-nums}
.label{background:var(--tint);color:var(--blue);border-radius:99px;padding:1px 10px;font-size:13px;font-weight:550}
.label span{opacity:.7;font-weight:400}
.time{position:relative;align-self:start}
.time.seek{cursor:pointer}
.strip{display:flex;gap:2px;height:88px;border-radius:8px 8px 0 0;overflow:hidden}
.strip img{flex:1 1 0;min-width:0;height:100%;object-fit:cover;display:block}
.sound{height:96px;margin-top:2px;background:#0f0e1f;border-radius:0 0 8px 8px;overflow:hidden}
.sound img{display:block;height:100%}
.none{display:flex;align-items:center;justify-content:center;height:44px;color:var(--soft);font-size:13px;
background:repeating-linear-gradient(135deg,var(--gone) 0 6px,transparent 6px 12px);border:1px solid var(--line)}
.strip.none{border-radius:8px 8px 0 0}.sound.none{border-radius:0 0 8px 8px}
.told{position:relative;height:8px;margin-top:3px;border-radius:4px;background:var(--line);overflow:hidden}
.told i{position:absolute;top:0;bottom:0;min-width:2px;border-radius:4px;background:var(--blue)}
.head-line{position:absolute;top:0;bottom:22px;width:2px;margin-left:-1px;background:#fff;box-shadow:0 0 0 1px #0008;
left:0;display:none;pointer-events:none}
.side video,.side .still{display:block;width:100%;max-height:210px;background:#000;border-radius:8px}
.screen{position:relative;cursor:pointer}.screen video:focus-visible,audio:focus-visible{outline:3px solid var(--blue);
outline-offset:2px}
.screen.paused:after{content:"\\25B6\\FE0E";position:absolute;left:8px;bottom:8px;width:26px;height:26px;border-radius:50%;
background:rgba(0,0,0,.55);color:#fff;font:12px/26px sans-serif;text-align:center;pointer-events:none}
.side .still{object-fit:contain}
.side audio{display:block;width:100%;margin-top:4px}
.side{grid-row:span 2}.words{margin-top:4px}
.words p{margin:0 0 2px;max-width:95ch;overflow-wrap:anywhere}
.words p.tags{color:var(--soft);font-size:13px;margin-top:4px}
.problem{grid-column:1/-1;color:#c2372e;margin:0}
@media (max-width:820px){.clip{grid-template-columns:minmax(0,1fr)}.side{grid-row:auto}
.strip{height:60px}.sound{height:70px}.none{height:36px}}
"""

SCRIPT = """
for (const clip of document.querySelectorAll('.clip')) {
  const player = clip.querySelector('video,audio'), time = clip.querySelector('.time');
  if (!player || !time) continue;
  const line = time.querySelector('.head-line'), seconds = +clip.dataset.seconds;
  const draw = () => {
    line.style.display = 'block';
    line.style.left = 100 * Math.min(1, player.currentTime / seconds) + '%';
    if (!player.paused) requestAnimationFrame(draw);
  };
  player.onplay = () => {
    document.querySelectorAll('video,audio').forEach(other => other === player || other.pause());
    draw();
  };
  player.onseeked = draw;
  const screen = player.closest('.screen');
  if (screen) {
    player.controls = false;
    const mark = () => screen.classList.toggle('paused', player.paused);
    const turn = () => player.paused ? player.play() : player.pause();
    for (const event of ['play', 'pause']) player.addEventListener(event, mark);
    player.onclick = turn;
    player.onkeydown = event => {
      if (event.key === ' ' || event.key === 'Enter') { event.preventDefault(); turn(); }
      if (event.key === 'ArrowRight') player.currentTime = Math.min(seconds, player.currentTime + 0.5);
      if (event.key === 'ArrowLeft') player.currentTime = Math.max(0, player.currentTime - 0.5);
    };
    mark();
  }
  time.onclick = event => {
    const box = time.getBoundingClientRect();
    player.currentTime = seconds * (event.clientX - box.left) / box.width;
    player.play();
  };
}
"""

BARS = 12
"""Number of classes in a chart; the rest are summed in one line."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Content of the page for one clip.

    Attributes:
      record: the clip.
      row: its row in the table.
      labels: class name, class names or value for each known label.
      frames: addresses (`data:`) of frames at regular times.
      spectrogram: address of the spectrogram image, or None.
      sounding: share of the clip's length with audio.
      player: address of the media, or None if it cannot be played.
      problem: reason why the clip cannot be displayed, or an empty text.
    """

    record: Record
    row: int
    labels: dict[str, str]
    frames: list[str]
    spectrogram: str | None
    sounding: float
    player: str | None
    problem: str


def render(corpus: Corpus, cards: Sequence[Card], where: str | None = None, clips: int | None = None) -> str:
    """Return the whole page as text.

    Args:
      corpus: the clips.
      cards: cards of the displayed clips.
      where: text on the origin of the clips; None is the corpus's folder.
      clips: number of clips from which the cards were drawn; None is the whole corpus.
    """
    title = f"{escape(corpus.name)} <span>{escape(corpus.split)}</span>"
    charts = [_lengths(corpus), *(_classes(corpus, kind) for kind in corpus.classes)]
    charts += [_numbers(corpus, kind) for kind in corpus.annotations.number]
    body = "\n".join(_clip(corpus, card) for card in cards)
    drawn = f"{len(cards)} of {_count(clips or len(corpus), 'clip')}, drawn at random."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(corpus.name)} · {escape(corpus.split)}</title><style>{STYLE}</style></head><body><main>
<h1>{title}</h1><p class="where">{escape(where or str(corpus.path))}</p>
{_facts(corpus)}
<div class="charts">{"".join(charts)}</div>
<h2>{drawn} Click into frames or sound to play from there.</h2>
{body}
</main><script>{SCRIPT}</script></body></html>
"""


def _facts(corpus: Corpus) -> str:
    table, clips = corpus.table, len(corpus)
    both = int((table.has_video & table.has_audio).sum())
    texts = [len(captions) for captions in table.captions]

    def share(count: int) -> str:
        return f"{round(100 * count / clips)}%"

    facts = [
        (f"{clips:,}", "clips"),
        (_duration(float(table.seconds.sum())), "in all"),
        (f"{int(table.has_video.sum()):,}", f"with a picture, {share(int(table.has_video.sum()))}"),
        (f"{int(table.has_audio.sum()):,}", f"with sound, {share(int(table.has_audio.sum()))}"),
        (f"{both:,}", f"with both, {share(both)}"),
        (f"{sum(texts):,}", f"captions, on {share(sum(count > 0 for count in texts))} of the clips"),
    ]
    cells = "".join(f"<div><b>{big}</b><span>{small}</span></div>" for big, small in facts)
    return f'<div class="facts">{cells}</div>'


def _lengths(corpus: Corpus) -> str:
    seconds = corpus.table.seconds
    return _histogram(f"Length, median {float(np.median(seconds)):.2f} s", seconds, " s")


def _numbers(corpus: Corpus, kind: str) -> str:
    numbers = corpus.table.numbers[kind]
    # NaN marks an unknown number.
    known = numbers[~np.isnan(numbers)]
    title = f"Numbers of “{escape(kind)}”"
    if not len(known):
        return f'<div class="chart"><h2>{title}</h2><div class="axis"><span>of no clip</span></div></div>'
    unknown = f", {len(numbers) - len(known):,} unknown" if len(known) < len(numbers) else ""
    return _histogram(f"{title}, mean {known.mean():.2f}{unknown}", known, "")


def _histogram(title: str, values: np.ndarray, unit: str) -> str:
    low, high = float(values.min()), float(values.max())
    # Equal values need a range above 0.
    counts, _ = np.histogram(values, bins=24, range=(low, high if high > low else low + 1.0))
    bars = "".join(
        f'<i style="height:{100 * count / counts.max():.1f}%" title="{_count(int(count), "clip")}"></i>'
        for count in counts
    )
    return (
        f'<div class="chart"><h2>{title}</h2><div class="lengths">{bars}</div>'
        f'<div class="axis"><span>{low:.2f}{unit}</span><span>{high:.2f}{unit}</span></div></div>'
    )


def _classes(corpus: Corpus, kind: str) -> str:
    names, table = corpus.classes[kind], corpus.table
    if kind in table.several:
        known = [numbers for numbers in table.several[kind] if numbers is not None]
        numbers, unknown = np.array([n for own in known for n in own], np.int64), len(table) - len(known)
    else:
        numbers = table.labels[kind][table.labels[kind] >= 0]
        unknown = len(table) - len(numbers)
    counts = np.bincount(numbers, minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    lines = [_bar(names[number], int(counts[number]), int(counts.max())) for number in order[:BARS]]
    if len(order) > BARS:
        rest = int(counts[order[BARS:]].sum())
        lines.append(f'<div class="axis"><span>{len(order) - BARS} more classes</span><span>{rest:,}</span></div>')
    if unknown:
        lines.append(f'<div class="axis"><span>not labelled</span><span>{unknown:,}</span></div>')
    title = "Classes" if kind == "label" else f"Classes of “{escape(kind)}”"
    title += ", several a clip" if kind in table.several else ""
    return f'<div class="chart"><h2>{title}</h2>{"".join(lines)}</div>'


def _bar(name: str, count: int, most: int) -> str:
    width = 100 * count / max(most, 1)
    return (
        f'<div class="bar"><span title="{escape(name)}">{escape(name)}</span>'
        f'<div><i style="width:{width:.1f}%"></i></div><em>{count:,}</em></div>'
    )


def _clip(corpus: Corpus, card: Card) -> str:
    seconds = float(corpus.table.seconds[card.row])
    words = "".join(f"<p>{escape(caption)}</p>" for caption in card.record.captions)
    if card.record.tags:
        words += f'<p class="tags">{escape(", ".join(card.record.tags))}</p>'
    shown = f'<p class="problem">{escape(card.problem)}</p>' if card.problem else _pictures(corpus, card)
    return (
        f'<article class="clip" data-seconds="{seconds:.6f}">{_head(corpus, card)}{shown}'
        f'<div class="words">{words or "<p class=tags>no caption</p>"}</div></article>'
    )


def _head(corpus: Corpus, card: Card) -> str:
    table, row = corpus.table, card.row
    labels = "".join(
        '<span class="label">' + ("" if kind == "label" else f"<span>{escape(kind)}</span> ") + f"{escape(name)}</span>"
        for kind, name in card.labels.items()
    )
    facts = [f"{table.seconds[row]:.2f} s"]
    if table.has_video[row]:
        facts += [f"{table.width[row]}×{table.height[row]}", f"{table.fps[row]:g} fps"]
    facts.append(f"{len(card.record.media) / 1000:,.0f} kB {card.record.suffix[1:]}")
    return f'<div class="head"><code>{escape(card.record.id)}</code>{labels}<small>{" · ".join(facts)}</small></div>'


def _pictures(corpus: Corpus, card: Card) -> str:
    """Return frames over the spectrogram on one time axis, with the player beside them."""
    frames = "".join(f'<img src="{address}" alt="">' for address in card.frames)
    strip = f'<div class="strip">{frames}</div>' if frames else '<div class="strip none">no picture</div>'
    sound = '<div class="sound none">no sound</div>'
    if card.spectrogram:
        width = f"width:{100 * card.sounding:.2f}%"
        sound = f'<div class="sound"><img style="{width}" src="{card.spectrogram}" alt="spectrogram"></div>'
    axis = f'<div class="axis"><span>0 s</span><span>{corpus.table.seconds[card.row]:.2f} s</span></div>'
    player, seekable = _player(card)
    seek = " seek" if seekable else ""
    told = _moments(corpus, card.row)
    time = f'<div class="time{seek}">{strip}{sound}{told}{axis}<div class="head-line"></div></div>'
    return f'{time}<div class="side">{player}</div>'


def _moments(corpus: Corpus, row: int) -> str:
    """Return a bar over the length of the clip with the moments that its first caption describes."""
    seconds, moments = float(corpus.table.seconds[row]), corpus.table.moments
    if moments is None or moments[row] is None:
        return ""
    bars = "".join(
        f'<i style="left:{100 * start / seconds:.2f}%;width:{100 * (min(end, seconds) - start) / seconds:.2f}%" '
        f'title="{start:.2f} s to {end:.2f} s"></i>'
        for start, end in moments[row]
    )
    return f'<div class="told">{bars}</div>'


def _player(card: Card) -> tuple[str, bool]:
    """Return the player, and whether it can seek."""
    if card.player is None:
        return '<div class="none">too large to play</div>', False
    if card.player.startswith("data:image"):
        return f'<img class="still" src="{card.player}" alt="">', False
    if card.frames:
        # The browser's own bar would cover a small clip: the script plays it by click, Enter or Space instead.
        name = escape(card.record.id)
        said = f'role="button" tabindex="0" aria-label="Play or pause {name}"'
        media = f'poster="{card.frames[0]}" src="{card.player}"'
        return (
            f'<div class="screen"><video controls loop playsinline preload="metadata" {said} {media}></video></div>',
            True,
        )
    return f'<audio controls preload="metadata" src="{card.player}"></audio>', True


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
