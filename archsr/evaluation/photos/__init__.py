"""The score card for photographs without ground truth."""
