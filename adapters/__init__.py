"""The outside world behind small protocols: sources, sinks, stores."""
