"""The interpreter's structures as ctypes sees them; interpreter.cpp says what their fields mean."""

# ruff: noqa: D101  (their fields say what they are)
from __future__ import annotations

from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p

MOST_ARGUMENTS = 5
DOMAINS = 5


class Instruction(Structure):
    _fields_ = (("op", c_int32), ("to", c_int32), ("x", c_int32 * MOST_ARGUMENTS))


class Section(Structure):
    _fields_ = tuple(
        (n, c_int32) for n in ("domain", "code", "code_end", "moving", "moving_end", "reductions", "reductions_end")
    )


class Reduction(Structure):
    _fields_ = tuple((n, c_int32) for n in ("how", "to", "domain", "onto", "mean", "shared"))


class Code(Structure):
    _fields_ = (
        ("instructions", POINTER(Instruction)),
        ("sections", POINTER(Section)),
        ("reductions", POINTER(Reduction)),
        ("stages", POINTER(c_int32)),
        ("moving", POINTER(c_int32)),
        ("spaces", POINTER(c_int32)),
        *((n, c_int64) for n in ("stage_count", "value_count", "lined")),
    )


class Parameter(Structure):
    _fields_ = (
        ("code", POINTER(Code)),
        ("offsets", POINTER(c_int64)),
        ("partials", POINTER(c_int64)),
        ("lengths", c_int64 * DOMAINS),
        ("rows", c_int64),
        ("cols", c_int64),
    )


class Program(Structure):
    _fields_ = (("parameters", POINTER(Parameter)), ("parameter_count", c_int64), ("stage_count", c_int64))


class Member(Structure):
    _fields_ = (
        ("program", POINTER(Program)),
        ("state", c_void_p),
        ("numbers", c_void_p),
        *((n, c_int64) for n in ("state_stride", "number_stride", "replicas")),
    )


class Batch(Structure):
    _fields_ = (
        ("members", POINTER(Member)),
        ("member_of", POINTER(c_int64)),
        ("row_of", POINTER(c_int64)),
        ("place_of", POINTER(c_int64)),
        *((n, c_void_p) for n in ("w", "g", "scratch", "partials")),
        *((n, c_int64) for n in ("step", "replicas", "width", "scratch_stride", "partial_stride")),
        *((n, c_int64) for n in ("most_values", "most_reductions", "most_registers", "threads")),
    )


class Call(Structure):  # of interpreter.cu
    _fields_ = (
        *((n, c_void_p) for n in ("members", "member_of", "row_of", "place_of", "clock", "arrived")),
        *((n, c_void_p) for n in ("w", "g", "scratch", "registers", "partials")),
        *((n, c_int64) for n in ("block", "width", "scratch_stride", "register_stride", "partial_stride")),
        *((n, c_int64) for n in ("most_values", "shared_registers", "unit", "parts")),
    )
