"""The population machine in C++: one interpreter for all rules, compiled once per machine."""

from .launcher import SUFFIXES, Interpreter, Member, load_interpreter

__all__ = ["SUFFIXES", "Interpreter", "Member", "load_interpreter"]
