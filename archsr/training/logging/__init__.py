"""What a run logs and displays during training."""
