"""`archsr vote`: let people vote on which of two models they prefer."""
