"""What comes out of a run: signals, files, summaries, checks."""
