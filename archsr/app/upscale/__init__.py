"""The page that upscales photographs."""
