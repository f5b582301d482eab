"""How a command ends: its exit codes, and what a run raises that Ctrl-C has ended.

docs/operations.md has them in a table.
"""

EXIT_FAILURE, EXIT_INPUT, EXIT_DAY_FAILED, EXIT_LEASE, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
EXIT_SILENT = 5
"""A feed that stays silent, where `feed.silent` says so: a supervisor starts the run again."""
EXIT_DIFFERS = EXIT_FAILURE
"""A replay that came to something else than was committed."""
EXIT_UNREADY = 6
"""A run that was not ready for longer than it may be."""


class Interrupted(Exception):
    """Ctrl-C, after a run has ended in good order."""
