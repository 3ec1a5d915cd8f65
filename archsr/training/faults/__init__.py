"""Failures of a run: hangs, NaN losses, and the recorded reason of a stop."""
