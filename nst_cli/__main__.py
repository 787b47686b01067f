"""Runs the command `nst` for ``python -m nst_cli``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="nst")
