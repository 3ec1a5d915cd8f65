"""The survey decodes every file and determines whether it is a photograph, its tags and its statistics."""
