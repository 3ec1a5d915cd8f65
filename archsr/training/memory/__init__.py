"""Memory of a run: the forecast, and the largest micro-batch that fits."""
