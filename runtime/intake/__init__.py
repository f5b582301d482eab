"""Which rows a run gets: the plan of its days, and the days' rows, read ahead."""
