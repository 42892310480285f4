"""The plan of an epoch: sampled clips, token counts, budgets and packed rows."""
