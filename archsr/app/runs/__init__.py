"""The tabs of training runs and of their score cards."""
