"""The page of `archsr app`: upscale photographs, compare models, watch runs."""
