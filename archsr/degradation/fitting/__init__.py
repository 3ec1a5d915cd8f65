"""Estimates from images how they were degraded, and makes a table of the degradation that matches them."""
