"""The page: enlarge photographs, compare models, watch runs."""
