"""What a run needs before it is launched: tokens, parameters, FLOPs and bytes, from the real program, abstractly."""
