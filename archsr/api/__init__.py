"""The functions of `import archsr`: each does what the command of its name does, and returns objects."""
