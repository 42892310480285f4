"""The report of a run: its data, its page, and the sections of its tasks."""
