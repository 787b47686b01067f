"""Fuzzers: one module for each kind of input that may come from a stranger.

    make fuzz FUZZ=pictures COUNT=100000

Each module has `try_one`, which handles one input as nst does; `seeds`, valid inputs to start
from; and `WORDS`, pieces that such inputs contain. An input may be refused by an `NstError`.
Anything else that is raised, and any input that takes too long or too much memory, is a find.
"""
