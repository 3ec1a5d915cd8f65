"""The tab that upscales photographs."""
