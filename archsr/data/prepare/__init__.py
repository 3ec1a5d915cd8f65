"""`archsr prepare`: from a folder of photographs to shards and a manifest."""
