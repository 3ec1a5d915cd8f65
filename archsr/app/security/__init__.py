"""Who may come in, with how much, and how often."""
