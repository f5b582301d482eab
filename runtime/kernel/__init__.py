"""Actors in steps: who hears whom, what hands messages over, at which pace. No files, no stores."""
