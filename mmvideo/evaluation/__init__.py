"""How good a trained model is: retrieval, probes on frozen features, and a report to read.

`inference` and `embeddings` run a learner over a corpus once, `tasks/` has one evaluator a file, `metrics/` and
`retrieval/` score plain arrays, `runner` writes the scores into the workdir, and `report/` turns a workdir into one
page.
"""
