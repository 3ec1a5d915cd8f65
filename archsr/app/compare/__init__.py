"""The tab that compares models on a degraded photograph."""
