"""A larger budget for a run that has begun: it goes on as if it had had that budget from the start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evoptim.dsl import UserError

from .config import SearchConfig, make_config, to_toml
from .records.archive import Archive
from .records.journal import SEALED
from .rundir import CONFIG, write
from .sections import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that replace those of a configuration; None leaves one as it is.

    Args:
        evaluations: Distinct programs trained, in all.
        minutes: Wall-clock limit, in all: what a resumed run has spent before is part of it.
    """

    evaluations: int | None = None
    minutes: float | None = None

    def __bool__(self) -> bool:
        return self.evaluations is not None or self.minutes is not None

    def applied(self, config: SearchConfig) -> SearchConfig:
        """The configuration with these limits.

        Raises:
            UserError: A limit is not allowed, such as 0 evaluations.
        """
        changes = {"evaluations": self.evaluations, "minutes": self.minutes}
        budget = config.budget.model_dump() | {k: v for k, v in changes.items() if v is not None}
        return make_config(config.model_dump() | {"budget": budget}, "--time or --evaluations")


def extend(directory: Path, archive: Archive, config: SearchConfig, limits: Limits) -> SearchConfig:
    """Give a run other limits, in the archive and in the echoed configuration, and return that configuration.

    A last batch that the old budget may have cut short is taken out to be asked for again, whole: its programs are the
    first of the new one's. A winner that has been chosen stays in the journal, in the entry that says what changed.

    Raises:
        UserError: The new budget is used up already, or the sealed tasks have been opened.
    """
    wanted = limits.applied(config)
    if wanted == config:
        return config
    if archive.journal(SEALED):
        raise UserError(
            f"{directory} has opened its sealed tasks: its search is over",
            "begin a new run: one that goes on would choose its winner after the last examination",
        )
    _refuse_used_up(directory, archive, wanted.budget)
    counts, old = archive.counts(), config.budget
    cut = counts["evaluated"] >= old.evaluations or counts["generated"] == old.programs
    winner = archive.meta("winner")
    entry = {"from": old.model_dump(), "to": wanted.budget.model_dump(), "evaluated": counts["evaluated"]}
    archive.extend(wanted.model_dump_json(), entry | {"winner": None if winner is None else int(winner)}, reopen=cut)
    write(directory / CONFIG, to_toml(wanted))
    return wanted


def _refuse_used_up(directory: Path, archive: Archive, budget: Budget) -> None:
    counts, minutes = archive.counts(), sum(archive.seconds()) / 60
    used = (
        ("evaluations", counts["evaluated"], budget.evaluations, "give --evaluations a larger number, in all"),
        ("minutes", minutes, budget.minutes, "give --time a longer time, in all"),
        ("programs", counts["generated"], budget.programs, "begin a new run: this limit cannot be changed"),
    )
    for key, spent, limit, remedy in used:
        if limit is not None and spent >= limit:
            raise UserError(f"{directory} has used up budget.{key} = {limit:g}: {spent:g} are spent", remedy)
