"""What is written into a store and read again."""
