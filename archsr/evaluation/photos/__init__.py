"""The score card of photographs without ground truth."""
