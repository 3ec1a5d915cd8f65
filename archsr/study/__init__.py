"""Study which layers to train: candidates with an equal budget and several seeds, compared on their own scenes."""
