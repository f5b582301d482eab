"""Signals on their way to sinks: where each one is, its thread, and what people ask of it."""
