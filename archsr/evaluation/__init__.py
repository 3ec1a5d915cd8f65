"""Measuring models on fixed pixels: score cards and images."""
