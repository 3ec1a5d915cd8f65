"""Datasets: from a folder of photographs to training samples."""
