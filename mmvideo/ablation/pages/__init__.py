"""Pages of results: documents as plain values, written as Markdown, LaTeX, CSV, HTML and plots."""
