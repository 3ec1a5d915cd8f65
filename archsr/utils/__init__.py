"""Code that any stage may use: safe files, logging, processes, stop requests."""
