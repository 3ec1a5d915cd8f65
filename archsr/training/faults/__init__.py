"""What goes wrong in a run, and what is said of it."""
