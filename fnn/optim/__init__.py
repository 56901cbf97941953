"""Optimizers as data: one per file, on one contract."""
