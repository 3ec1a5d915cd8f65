"""Measure models on fixed images: score cards, verdicts and reports."""
