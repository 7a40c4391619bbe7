"""What a run begins with: its start program, and what its archive has stored of it."""

from __future__ import annotations

import json

from evoptim.dsl import Rule, UserError, load, parse

from .config import SearchConfig, make_config
from .proposing.frame import into_frame, with_buffers
from .proposing.program import flatten
from .records.archive import Archive


def stored_run(archive: Archive) -> tuple[SearchConfig, Rule, str]:
    """Configuration, start program and evaluator version of an archive.

    Raises:
        UserError: The run was killed before it had begun.
    """
    config, start, version = archive.meta("config"), archive.meta("start"), archive.meta("evaluator")
    if config is None or start is None or version is None:
        raise UserError(
            f"{archive.path} holds no search: it was stopped before it began", "delete the directory and begin anew"
        )
    return make_config(json.loads(config), str(archive.path)), parse(start), version


def start_program(config: SearchConfig) -> Rule:
    """The first program of a search: the configured rule, framed or flat, with the wanted number of buffers.

    Raises:
        UserError: There is no such rule, it cannot be framed, has no lr, or is too long.
    """
    rule = load(config.start.rule)
    if config.start.frame == "update":
        rule = into_frame(rule, config.evaluation.weight_decay).rule
    elif "lr" not in rule.defaults:
        raise UserError(f"rule {rule.name!r} has no lr", "add lr to its hyperparameters")
    else:
        rule = flatten(rule, free=True)  # a rule that happens to be written like the frame is mutated as a whole
    length, longest = sum(1 for _ in flatten(rule).assigns()), config.mutation.max_statements
    if length > longest:
        raise UserError(
            f"rule {config.start.rule!r} has {length} statements, mutation.max_statements is {longest}",
            f"set mutation.max_statements to {length} or more, better to twice as many",
        )
    return with_buffers(rule.replace(doc=""), config.start.buffers)
