"""What is asked before and beside a run: whether all that it needs is there. Nothing is changed."""
