"""`python -m evenhand` is the same as `evenhand`."""

from .cli import main

main()
