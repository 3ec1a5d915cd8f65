"""How much memory a run takes: forecast, and the largest micro-batch that fits."""
