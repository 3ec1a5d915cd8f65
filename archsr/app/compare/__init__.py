"""The page that compares models on a degraded photograph."""
