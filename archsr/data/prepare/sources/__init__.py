"""Sources of photographs: folders, archives, rows of a Hugging Face dataset."""
