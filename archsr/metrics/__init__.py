"""Figures of images that need no network."""
