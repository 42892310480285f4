"""Ablations as data: a suite says what varies, one command runs it and writes tables and plots."""
