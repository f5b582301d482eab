"""Pure functions and value types of the market: arrays in, arrays out."""
