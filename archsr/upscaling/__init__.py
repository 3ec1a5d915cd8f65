"""Run a model on whole images, in tiles."""
