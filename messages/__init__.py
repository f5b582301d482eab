"""What actors say to each other, one module a subject."""
