"""The interpreter's tables in memory of a device."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from . import structures as c
from .tables import Tables

_ALIGNED = 16


class _Packer:
    """Lays structures out one after another, as they are to stand from an address on."""

    def __init__(self, base: int) -> None:
        self.base, self.data = base, bytearray()

    def add(self, *items: tuple[Any, Mapping[str, int]]) -> int:
        """Add structures or arrays side by side, each with the addresses for its pointers; returns their address."""
        self.data += bytes(-len(self.data) % _ALIGNED)
        begin = len(self.data)
        for item, pointers in items:
            at = len(self.data)
            self.data += bytes(item)
            for name, address in pointers.items():
                struct.pack_into("P", self.data, at + getattr(type(item), name).offset, address)
        return self.base + begin

    def add_all(self, arrays: Mapping[str, Any]) -> dict[str, int]:
        """Add arrays; returns their addresses."""
        return {name: self.add((array, {})) for name, array in arrays.items()}

    def add_program(self, tables: Tables) -> int:
        """Add a rule's table with all that it points to."""
        codes = {id(code): self.add((code.structure, self.add_all(code.arrays))) for code in tables.codes}
        rows = [(p.structure, {"code": codes[id(p.code)], **self.add_all(p.arrays)}) for p in tables.parameters]
        return self.add((tables.program, {"parameters": self.add(*rows)}))


def packed_programs(all_tables: Iterable[Tables], device: torch.device) -> tuple[Tensor, list[int]]:
    """The tables of many rules on a device: the memory that holds them, and the address of each one."""
    several = list(all_tables)

    def packed(base: int) -> tuple[bytearray, list[int]]:
        packer = _Packer(base)
        addresses = [packer.add_program(tables) for tables in several]
        return packer.data, addresses

    size = len(packed(0)[0])
    memory = torch.empty(size, dtype=torch.uint8, device=device)
    data, addresses = packed(memory.data_ptr())
    memory.copy_(torch.frombuffer(data, dtype=torch.uint8))
    return memory, addresses


def packed_members(rows: Iterable[tuple[c.Member, int]], device: torch.device) -> Tensor:
    """A table of rules on a device, each with the address of its program."""
    packer = _Packer(0)
    packer.add(*((row, {"program": program}) for row, program in rows))
    return torch.frombuffer(packer.data, dtype=torch.uint8).to(device)
