"""The trainer: state, step, optimiser, checkpoints, and a loop short enough to read in one sitting.

`loop.train` runs it; every other module holds one part of it. Nothing here names an objective: a learner is any
module with `losses(stream) -> (total, metrics)`.
"""
