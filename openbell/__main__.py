"""`python -m openbell` is the command line."""

from openbell.runtime.cli import main

main()
