"""The kinds of entries in an archive's journal: what was done with programs besides searching.

A kind's entries are JSON documents, numbered from 0; the module that writes a kind says what is in one.
"""

from __future__ import annotations

from typing import Final

FUNNEL: Final = "funnel"
"""A verdict on one program at one stage of the funnel."""
META: Final = "meta"
"""The best program so far on the tasks of meta-validation."""
SEALED: Final = "sealed"
"""The one opening of the sealed tasks, and what came out."""
SIMPLIFY: Final = "simplify"
"""What was taken out of a program, or tried in vain."""
TUNING: Final = "tuning"
"""A trial of the tuning of a rule's hyperparameters."""
COMPARISON: Final = "comparison"
"""A table of rules compared fairly."""
EXTENSION: Final = "extension"
"""A larger budget: the limits ``from`` and ``to``, programs ``evaluated`` and the ``winner`` by then."""
POISON: Final = "poison"
"""A program that workers do not survive."""
