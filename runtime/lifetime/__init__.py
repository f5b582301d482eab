"""A run that outlives its process."""
