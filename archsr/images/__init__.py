"""Image files: how they are recognised, read, checked and written."""
