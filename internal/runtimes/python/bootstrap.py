"""Starts Hearth's Python runtime. It is the script of the process, so wrappers may put interpreter options before it."""
from _hearth import main

main()
