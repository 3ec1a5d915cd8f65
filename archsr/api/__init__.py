"""What `import archsr` offers in Python: each function does what the command of its name does, and returns objects."""
