"""Decide which differences between two models are significant."""
