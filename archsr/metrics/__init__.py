"""Image metrics that need no network."""
