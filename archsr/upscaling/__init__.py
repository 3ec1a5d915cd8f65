"""A model on whole pictures, in tiles."""
