"""The page of score cards."""
