"""What runs actors: wiring, dispatchers, configuration, the command line."""
