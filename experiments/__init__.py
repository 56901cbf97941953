"""Experiments: one claim per file or folder, each a command, `python -m experiments.NAME`.

README.md shows the answers. What several experiments share is in common/.
"""
