"""A model on whole images, in tiles."""
