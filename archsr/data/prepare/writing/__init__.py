"""From judged photographs to shards, manifest and report."""
