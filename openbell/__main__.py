"""`python -m openbell` is the command line."""

from openbell.runtime.cli.app import main

main()
