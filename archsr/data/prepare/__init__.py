"""From a folder of photographs to shards and a manifest."""
