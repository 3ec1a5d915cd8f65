"""From shards to training samples, in an order that is pure arithmetic."""
