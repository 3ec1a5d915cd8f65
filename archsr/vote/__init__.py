"""Asking people which of two models they prefer: `archsr vote`."""
