"""Where commits, documents and signals live."""
