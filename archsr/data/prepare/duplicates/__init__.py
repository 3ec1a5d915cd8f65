"""Which photographs show the same: copies, near-duplicates, neighbours of one building."""
