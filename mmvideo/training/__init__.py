"""The trainer: state, step, optimiser, checkpoints, and the loop that reads in one sitting.

`loop.train` runs it; every other module holds one idea of it. Nothing here names an objective: a
learner is any module with `losses(stream) -> (total, metrics)`.
"""
