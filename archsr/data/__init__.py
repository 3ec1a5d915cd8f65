"""From a folder of photographs to training samples."""
