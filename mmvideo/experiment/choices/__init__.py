"""Settings that an experiment chooses from its corpus: objectives, length of the run, and all of the input."""
