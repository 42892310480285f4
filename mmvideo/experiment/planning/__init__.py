"""The plan of a run before its launch: tokens, parameters, FLOPs, bytes and time."""
