"""Input pipeline: clips of one or several corpora become packed streams of tokens, planned before any decoding.

The entry point is `pipeline.Batches`. `planning/sampler.py` samples the clips of an epoch, and
`planning/epoch_plan.py` assigns them to rows. `clip_loader` turns a clip into tokens with the `transforms/`, `collate`
assembles a row, and `device_put` puts a batch on the devices of a mesh.
"""
