"""From surveyed photographs to shards, manifest and report."""
