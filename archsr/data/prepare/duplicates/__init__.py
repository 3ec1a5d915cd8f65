"""Finds photographs that show the same: copies, near-duplicates, and neighbours that show one building."""
