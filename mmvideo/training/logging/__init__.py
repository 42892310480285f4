"""Logging of a run: metrics, time ledger, progress, watchdog."""
