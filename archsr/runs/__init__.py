"""The runs of a folder, read from their files alone."""
