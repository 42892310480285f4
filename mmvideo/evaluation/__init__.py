"""How good a trained model is: retrieval, probes on frozen features, and a report to read.

`embed` runs a learner over a corpus once, `retrieval` and `probes` score what comes out as plain
arrays, `runner` writes the scores into the workdir, and `report` turns a workdir into one page.
"""
