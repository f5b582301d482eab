"""Pure state machines, one actor a module: `update(state, message) -> state, effects`."""
