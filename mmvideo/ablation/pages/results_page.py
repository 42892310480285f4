"""The results of a tier as a page: facts, claims, and each study's table, plots and cells."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from mmvideo.ablation.cells import tier_of
from mmvideo.ablation.git import last_change
from mmvideo.ablation.pages import published_columns
from mmvideo.ablation.pages.document import (
    DASH,
    Document,
    Entry,
    Section,
    Table,
    bold_best,
    format_entries,
    format_estimate,
    format_large,
)
from mmvideo.ablation.pages.panels import panels
from mmvideo.ablation.pages.setting_labels import change_lines
from mmvideo.ablation.results import CellOutcome, Results, Row, StudyResults
from mmvideo.ablation.statistics import Estimate, Verdict, estimate
from mmvideo.ablation.suite import Claim, Metric, Tier
from mmvideo.ablation.worker import CELLS
from mmvideo.evaluation.report.parts.markup import duration
from mmvideo.evaluation.report.parts.metric_names import is_hundredfold

READING = (
    "Means over seeds ± half of their 95 % interval (Student’s t); bold is the best mean of a column, which says "
    "nothing of significance. A dash stands where nothing was measured. Published numbers are the paper’s own, at its "
    "own size, and no part of ours."
)
CLAIMS = (
    "Gains are differences of cells of one seed, in the unit of the metric, positive where they are as claimed. A "
    "claim holds where the whole 95 % interval is above its margin (0 unless told), is reversed where the whole "
    "interval is below, and is not settled otherwise. p is one-sided, and not corrected for the number of claims."
)


def document(results: Results, linked: bool = True) -> Document:
    """Return the page of a tier.

    Args:
      results: results of the tier.
      linked: whether cells link to their workdirs, relative to the tier's folder; without, workdirs are named.
    """
    suite, tier = results.suite, tier_of(results.suite, results.tier)
    lead = [f"Held fixed: {suite.fixed}" if suite.fixed else "", suite.remarks]
    lead.append(f"Data: {tier.needs}" if tier.needs else "")
    whole = all(outcome.status == "done" for outcome in results.outcomes)
    parts = [_summary(results)] if any(study.verdicts for study in results.studies) else []
    parts += [] if whole else [_unfinished(results)]
    parts += [_study(results, study, "" if number else READING, linked) for number, study in enumerate(results.studies)]
    return Document(suite.title, tuple(filter(None, lead)), tuple(_facts(results)), tuple(parts))


def _facts(results: Results) -> list[tuple[str, str]]:
    """Return the facts of the tier: progress, settings, dates, time, machine and versions."""
    runs, tier = results.runs, tier_of(results.suite, results.tier)
    done = [outcome for outcome in runs if outcome.record]
    records = [outcome.record for outcome in done]
    began = min((record.began for record in records if record.began), default=None)
    ended = max((record.ended for record in records if record.ended), default=None)
    cells = results.outcomes
    # Cells of several studies may share a run: 24 cells of 18 runs.
    shared = f", {len(runs)} runs" if len(runs) < len(cells) else ""
    whole = f"{sum(outcome.status == 'done' for outcome in cells)} of {len(cells)} cells{shared}"
    spent = sum(outcome.seconds or 0.0 for outcome in runs)
    return [
        ("suite", results.suite.name),
        ("tier", results.tier),
        ("finished", whole),
        *_asked(results, tier),
        ("seeds", ", ".join(map(str, results.seeds))),
        ("settings", _listed(_settled(results.suite.name, outcome) for outcome in runs)),
        ("run", DASH if began is None or ended is None else _dates(began, ended)),
        ("stated time", f"{tier.minutes:g} min on 2 cores" if tier.minutes else DASH),
        ("taken time", f"{duration(spent)}, cells one after another" if spent else DASH),
        ("machine", _listed(outcome.machine for outcome in runs)),
        ("commit", _listed(outcome.commit for outcome in runs)),
        ("versions", _listed(_versions(outcome) for outcome in runs)),
    ]


def _asked(results: Results, tier: Tier) -> list[tuple[str, str]]:
    """Return the names of the studies on the page, unless it has all of them."""
    asked, count = [study.study.name for study in results.studies], len(tier.studies)
    return [("studies", f"{', '.join(asked)}; {len(asked)} of {count}")] if len(asked) < count else []


def _settled(name: str, outcome: CellOutcome) -> str:
    """Return the commit time of the suite that the run used."""
    changed = last_change(f"experiments/{name}/suite.py", outcome.commit)
    return f"committed {changed}" if changed else ""


def _dates(began: float, ended: float) -> str:
    """Return two times in UTC; the date once if both are on one day."""
    first, last = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) for seconds in (began, ended))
    # On one day: "2026-11-30 10:00 to 12:30 UTC".
    return f"{first} to {last.removeprefix(first[:11])} UTC"


def _listed(words: Iterable[str]) -> str:
    """Return distinct texts, separated by semicolons."""
    return "; ".join(dict.fromkeys(filter(None, words))) or DASH


def _versions(outcome: CellOutcome) -> str:
    """Return the versions of the packages in words."""
    return ", ".join(f"{name} {version}" for name, version in outcome.versions.items() if version)


def _summary(results: Results) -> Section:
    """Return the section of all claims with their verdicts."""
    judged = [(study, claim, verdict) for study in results.studies for claim, verdict in study.verdicts]
    counts = {outcome: 0 for outcome in ("holds", "reversed", "not settled", "not measured")}
    for _, _, verdict in judged:
        counts[verdict.outcome] += 1
    said = ", ".join(f"{count} {_verb(outcome, count)}" for outcome, count in counts.items() if count)
    lead = f"Of {len(judged)} claim{'s' * (len(judged) > 1)}: {said}. {CLAIMS}"
    rows = [_claim(study, claim, verdict) for study, claim, verdict in judged]
    head = ("claim", "verdict", "gain", "p", "margin", "seeds", "metric", "study", "claimed in")
    # Columns that would be the same in every row are left out: margins that are all 0, the only study.
    keep = [place for place, _ in enumerate(head)]
    if not any(claim.margin for _, claim, _ in judged):
        keep.remove(head.index("margin"))
    if len(results.studies) == 1:
        keep.remove(head.index("study"))
    shown = tuple(head[place] for place in keep)
    wordy = tuple(place for place, word in enumerate(shown) if word not in ("gain", "p", "margin", "seeds"))
    table = Table(shown, tuple(tuple(row[place] for place in keep) for row in rows), wordy=wordy)
    return Section("claims", "Claims", lead, tuple(part for part in (table, _findings(results, judged)) if part.rows))


def _findings(results: Results, judged: Iterable[tuple[StudyResults, Claim, Verdict]]) -> Table:
    """Return the table of conclusions from the verdicts."""
    said = tier_of(results.suite, results.tier).findings
    rows = [
        format_entries(claim.text, verdict.outcome, said[claim.text])
        for _, claim, verdict in judged
        if claim.text in said
    ]
    return Table(("claim", "verdict", "what is made of it"), tuple(rows), words=3, title="In words", printed=False)


def _verb(outcome: str, count: int) -> str:
    """Return the outcome as a verb phrase, after a count: `3 hold`, `1 is reversed`."""
    if outcome == "holds":
        return "holds" if count == 1 else "hold"
    return f"{'is' if count == 1 else 'are'} {outcome}"


def _claim(study: StudyResults, claim: Claim, verdict: Verdict) -> tuple[Entry, ...]:
    """Return the row of a claim."""
    metric = next((metric for metric in study.study.metrics if metric.name == claim.metric), None)
    scale = scale_of(metric) if metric else 1.0
    p = DASH if verdict.p is None else "< 0.001" if verdict.p < 0.001 else f"{verdict.p:.3f}"
    return format_entries(
        f"{claim.text}\n({verdict.why})" if verdict.why else claim.text,
        verdict.outcome, format_estimate(verdict.gain, scale, signed=True), p, f"{scale * claim.margin:g}",
        str(verdict.gain.seeds) if verdict.gain else "0", head_of(metric) if metric else claim.metric,
        study.study.name, f"{claim.source} ({published_columns.EVIDENCE[claim.mark]})",
    )  # fmt: skip


def _unfinished(results: Results) -> Section:
    """Return the section of cells without a result, with the reasons."""
    lacking = [outcome for outcome in results.outcomes if outcome.status != "done"]
    rows = [format_entries(outcome.cell.title, outcome.status, outcome.why) for outcome in lacking]
    table = Table(("cell", "", "why"), tuple(rows), words=3, printed=False)
    lead = f"{len(lacking)} of {len(results.outcomes)} cells. They are no part of any mean."
    return Section("unfinished", "Failed and missing cells", lead, (table,))


def _study(results: Results, study: StudyResults, lead: str, linked: bool) -> Section:
    """Return the section of a study."""
    name = study.study.name
    tables = [_table(study), _unmatched(study), _cells(results, study, linked)]
    return Section(
        re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "study",
        name,
        lead,
        tuple(table for table in tables if table.rows),
        tuple(panels(study)),
    )


def scale_of(metric: Metric) -> float:
    """Return the display factor of a metric: 100 for fractions that are shown in percent."""
    return 100.0 if is_hundredfold(metric.key) else 1.0


def head_of(metric: Metric) -> str:
    """Return the head of a metric's column, with an arrow where smaller values are better."""
    unit = " %" if scale_of(metric) == 100 and "%" not in metric.name else ""
    return metric.name + unit + ("" if metric.higher else " ↓")


def _table(study: StudyResults) -> Table:
    """Return the table of a study: our metrics, published results and cost in separate columns."""
    axes, metrics = [axis.name for axis in study.study.axes], study.study.metrics
    columns = published_columns.columns(study)
    ours = [[estimate(list(row.values(metric).values())) for row in study.rows] for metric in metrics]
    # Per metric the row with the best mean: bold = [2, 0] for two metrics.
    bold = [bold_best(of, metric.higher) for of, metric in zip(ours, metrics, strict=True)]
    rows, measured = [], _tells_bytes(study)
    for place, row in enumerate(study.rows):
        seeds = max((len(row.values(metric)) for metric in metrics), default=0)
        means = [
            Entry(_mean(of[place], metric, seeds), place == first)
            for of, first, metric in zip(ours, bold, metrics, strict=True)
        ]
        others = format_entries(
            str(seeds), *(published_columns.place(row, column) for column in columns), *_cost(row, measured)
        )
        rows.append((*format_entries(*row.labels.values()), *means, *others))
    # Heads of two axes, one metric and VATT's one column: ("", 2), ("ours", 2), ("published, VATT …", 1), ("", 5). Ours
    # are the metric and the number of seeds.
    groups = [*([("", len(axes))] if axes else []), ("ours", len(metrics) + 1)]
    groups += [(f"published, {one}", count) for one, count in published_columns.sources(columns)]
    cost = ("train FLOPs", "parameters", "clips/s", "GiB" if measured else "GiB, planned", "time")
    head = (*axes, *map(head_of, metrics), "seeds", *(column.name for column in columns), *cost)
    return Table(head, tuple(rows), len(axes), (*groups, ("", len(cost))), note=_cost_note(measured))


def _mean(found: Estimate | None, metric: Metric, seeds: int) -> str:
    """Return a mean as text; if it has fewer seeds than other metrics of its row, the text says so."""
    fewer = f" ({found.seeds} of {seeds} seeds)" if found is not None and found.seeds < seeds else ""
    return format_estimate(found, scale_of(metric)) + fewer


def _tells_bytes(study: StudyResults) -> bool:
    """Return True if any run's device reported its memory."""
    return any(row.median("device_bytes") is not None for row in study.rows)


def _cost(row: Row, measured: bool) -> tuple[str, ...]:
    """Return planned FLOPs and parameters, and the medians of measured speed, memory (where `measured`) and time."""
    used, planned, seconds = row.median("device_bytes"), row.planned, row.median("seconds")
    size = used if used is not None else planned.bytes if planned else None
    return (
        format_large(planned.flops if planned else None),
        format_large(planned.parameters if planned else None),
        format_large(row.median("clips_per_second")),
        DASH if size is None else f"{size / 2**30:.3g}" + (" (planned)" if used is None and measured else ""),
        DASH if seconds is None else duration(seconds),
    )


def _cost_note(measured: bool) -> str:
    """Return the note on the cost columns."""
    memory = "the most in use on a device" if measured else "planned for one device, which does not tell its own"
    flops = "train FLOPs: all steps, forward and backward, as planned"
    return f"{flops}; clips/s and time: medians over seeds; GiB: {memory}."


def _unmatched(study: StudyResults) -> Table:
    """Return the table of published results for cells that the tier does not have."""
    rows = [
        format_entries(
            published_columns.cell_of(one), f"{name}: {value:g}", one.source, published_columns.EVIDENCE[one.mark]
        )
        for one in study.unmatched
        for name, value in one.values.items()
    ]
    title = "Published for cells that are not in this tier"
    return Table(("cell", "published", "source", "evidence"), tuple(rows), 4, title=title, printed=False)


def _cells(results: Results, study: StudyResults, linked: bool) -> Table:
    """Return the table of each cell's workdirs, changed settings, commits and versions."""
    rows = []
    for row in study.rows:
        begun = [cell for cell in row.cells if (results.folder / CELLS / cell.cell.place).is_dir()]
        links = tuple((f"seed {cell.cell.seed}", _address(results, cell)) for cell in begun) if linked else ()
        places = "\n".join(cell.cell.place for cell in begun) or DASH
        changes = Entry("\n".join(change_lines(row.changed)) or "as the base", code=bool(row.changed))
        made = format_entries(_listed(cell.commit for cell in row.cells), _listed(map(_versions, row.cells)))
        rows.append(
            (Entry(", ".join(row.labels.values())), changes, Entry(places, links=links, code=bool(begun)), *made)
        )
    title = "Cells: what differs from the base, workdirs, commits and versions"
    head = ("cell", "differs from the study’s base in", "workdirs", "commit", "versions")
    return Table(head, tuple(rows), 5, title=title, folded=True)


def _address(results: Results, outcome: CellOutcome) -> str:
    """Return the address of a cell's report, or else of its workdir, relative to the tier's folder."""
    from urllib.parse import quote

    workdir = f"cells/{outcome.cell.place}"
    whole = (results.folder / workdir / "report.html").is_file()
    return quote(f"{workdir}/report.html" if whole else f"{workdir}/")
