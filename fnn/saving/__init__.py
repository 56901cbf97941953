"""Runs that are saved while they train, and go on from where they stood."""
