"""Settings of an experiment that are chosen from its corpus: objectives, length of the run, and all of the input."""
