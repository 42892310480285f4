"""The files of results: table.md, table.csv, table.tex, index.html and plot.png."""

from __future__ import annotations

from pathlib import Path

from mmvideo.ablation.pages import plots
from mmvideo.ablation.pages.csv_table import spreadsheet
from mmvideo.ablation.pages.document import Document
from mmvideo.ablation.pages.html_page import webpage
from mmvideo.ablation.pages.latex import latex
from mmvideo.ablation.pages.markdown import markdown
from mmvideo.ablation.pages.results_page import document
from mmvideo.ablation.results import Results
from mmvideo.records.whole import write_whole


def write_pages(results: Results, folder: str | Path | None = None) -> Path:
    """Write the results of a tier, finished or not.

    Args:
      results: results of the tier.
      folder: output folder; None is the tier's own, where cells link to their workdirs. In another folder the workdirs
        are only named, for a page that is kept without them.

    Returns:
      Path of `index.html`.
    """
    own = folder is None or Path(folder).resolve() == results.folder.resolve()
    return write_files(document(results, linked=own), spreadsheet(results), results.folder if own else folder)


def write_files(page: Document, table: str, folder: str | Path) -> Path:
    """Write a page in all formats, with its CSV; return the path of `index.html`."""
    folder = Path(folder)
    texts = {"table.md": markdown(page), "table.csv": table, "table.tex": latex(page), "index.html": webpage(page)}
    for name, text in texts.items():
        write_whole(folder / name, text)
    # A reader never sees half a plot: the finished draft is renamed. A page without panels leaves no draft.
    draft = folder / ".plot.png"
    if plots.png(draft, page.sections):
        draft.replace(folder / "plot.png")
    return folder / "index.html"
