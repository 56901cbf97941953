"""Experiments: one claim per file, each a command, `python -m experiments.NAME`."""
