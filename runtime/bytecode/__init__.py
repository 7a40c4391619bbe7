"""A rule as bytecode for the population machine."""

from .compiler import compile_bytecode
from .model import Bytecode, Code, Domain, Instruction, Reduction, Section, Space, Value
from .opcodes import instruction_set

__all__ = [
    "Bytecode",
    "Code",
    "Domain",
    "Instruction",
    "Reduction",
    "Section",
    "Space",
    "Value",
    "compile_bytecode",
    "instruction_set",
]
