"""Where photographs come from: folders, archives, rows of a Hugging Face dataset."""
