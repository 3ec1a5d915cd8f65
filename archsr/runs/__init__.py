"""Read the runs of a folder from their files alone."""
