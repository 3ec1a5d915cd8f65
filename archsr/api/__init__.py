"""The Python interface of `import archsr`: functions named like the commands, which return objects."""
