"""Which differences of two models are more than luck."""
