"""Image files: what they are, and how they become tensors."""
