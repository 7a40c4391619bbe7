"""The population machine: one interpreter for all rules, in C++ and in CUDA C++, compiled once per machine."""

from .device import DeviceInterpreter
from .launcher import SUFFIXES, Interpreter, load_interpreter
from .replicas import Member
from .runner import find_runner

__all__ = ["SUFFIXES", "DeviceInterpreter", "Interpreter", "Member", "find_runner", "load_interpreter"]
