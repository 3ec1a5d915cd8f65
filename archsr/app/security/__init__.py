"""Access checks, rate limits and upload limits of the page."""
