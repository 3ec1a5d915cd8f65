"""The Python interface of `import archsr`: each function does what the command of its name does, and returns objects."""
