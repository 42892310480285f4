"""Evaluation of a trained model: retrieval, probes on frozen features, downstream tasks, and a report.

`inference` and `embeddings` run a learner over a corpus once, `tasks/` has one evaluator a file, `metrics/` and
`retrieval/` score plain arrays, `runner` writes the scores to the workdir, and `report/` renders a workdir as one page.
"""
