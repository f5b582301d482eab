"""HTTP: what a process answers, and what it asks."""
