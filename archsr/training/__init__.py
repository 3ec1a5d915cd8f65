"""Training of selected layers: loop, losses, memory, logging."""
