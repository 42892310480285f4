"""The cost of a run before its launch: tokens, parameters, FLOPs and bytes, from the real program's abstract trace."""
