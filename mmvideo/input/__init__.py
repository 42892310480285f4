"""Input: from the clips of one or several corpora to packed streams of tokens, planned before anything is decoded.

`pipeline.Batches` is the way in; `planning/sampler.py` samples the clips of an epoch, `planning/epoch_plan.py` assigns
them to rows, `clip_loader` turns one clip into tokens with the `transforms/`, `collate` weaves a row, `device_put`
puts a batch on the devices of a mesh.
"""
