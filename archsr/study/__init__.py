"""Which layers should be trained? Candidates under an equal budget, several seeds, judged on scenes of their own."""
