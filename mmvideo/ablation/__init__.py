"""Ablations as data: a suite says what varies, one command runs it, and the result is a table and a plot."""
