"""What driver and workers say to each other: one JSON document a line, made of texts and numbers alone.

A request names a lease, a job, and the texts of the programs with settings and seeds. The answer names the lease and
the version of the evaluator, and for every program the digest of its text and its trials. An answer is taken for
nothing but a claim: what does not fit the request to the last trial is `Garbage`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from evoptim.dsl import Rule, UserError

from ..evaluator import StoredTrial, Trial

READY = json.dumps({"ready": True})
"""What a worker says first."""

STATUSES = ("ok", "diverged", "timeout", "error")


class Garbage(ValueError):
    """An answer that is none."""


@dataclass(frozen=True, slots=True)
class Job:
    """How programs are to be trained.

    Args:
        what: What the evaluator is made from, in the words of whoever makes it.
        version: That evaluator's version; answers of another one are refused.
        settings: Hyperparameters to try.
        seeds: Seeds of initialisation and data order.
    """

    what: str
    version: str
    settings: Sequence[Mapping[str, float]]
    seeds: Sequence[int]


def request(lease: int, job: Job, rules: Sequence[Rule]) -> str:
    """A line that asks for all trials of some programs."""
    document = {
        "lease": lease,
        "job": job.what,
        "rules": [r.text for r in rules],
        "settings": [dict(s) for s in job.settings],
        "seeds": list(job.seeds),
    }
    return json.dumps(document, allow_nan=False)


def answer(lease: int, version: str, texts: Sequence[str], results: Sequence[Sequence[Trial]]) -> str:
    """The line that answers a request. A loss that is no finite number is null."""
    programs = [
        {"program": text_digest(text), "trials": [_row(t) for t in trials]}
        for text, trials in zip(texts, results, strict=True)
    ]
    return json.dumps({"lease": lease, "version": version, "programs": programs}, allow_nan=False)


def refusal(lease: int, error: UserError) -> str:
    """The line of a worker that cannot do the job, whatever the programs."""
    return json.dumps({"lease": lease, "refused": [error.message, error.remedy]})


def text_digest(text: str) -> str:
    """What names a program in an answer."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _row(trial: Trial) -> list[Any]:
    loss = float(trial.loss) if math.isfinite(trial.loss) else None
    return [dict(trial.setting), trial.seed, trial.status, loss, trial.reason]


def read_answer(line: str, lease: int, job: Job, rules: Sequence[Rule]) -> list[list[StoredTrial]]:
    """The trials of every program, as a request asked for them.

    Raises:
        Garbage: It is no answer to this request.
        UserError: The worker cannot do the job, or would do it differently.
    """
    document = _document(line)
    if document.get("lease") != lease:
        raise Garbage(f"an answer to lease {document.get('lease')!r:.40}, not {lease}")
    if "refused" in document:
        raise _refused(document["refused"])
    version, programs = document.get("version"), document.get("programs")
    if not isinstance(version, str) or not isinstance(programs, list):
        raise Garbage("an answer without version or programs")
    if version != job.version:
        raise UserError(
            f"a worker evaluates with {version}, the driver with {job.version}",
            "install the same versions, and the same data, wherever workers run",
        )
    programs = cast("list[Any]", programs)
    if len(programs) != len(rules):
        raise Garbage(f"{len(programs)} programs in an answer, not {len(rules)}")
    return [_trials(p, rule, job) for p, rule in zip(programs, rules, strict=True)]


def _document(line: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Garbage(f"an answer that is no JSON: {line!r:.60}") from error
    if not isinstance(document, dict):
        raise Garbage(f"an answer that is no object: {line!r:.60}")
    return cast("dict[str, Any]", document)


def _refused(why: Any) -> Exception:
    match why:
        case [str(message), str(remedy)]:
            return UserError(f"a worker: {message}", remedy)
        case _:
            return Garbage("a refusal without a reason")


def _trials(program: Any, rule: Rule, job: Job) -> list[StoredTrial]:
    match program:
        case {"program": digest, "trials": [*rows]} if digest == text_digest(rule.text):
            pass
        case _:
            raise Garbage("an answer about another program")
    wanted = [(s, seed) for s in job.settings for seed in job.seeds]
    if len(rows) != len(wanted):
        raise Garbage(f"{len(rows)} trials of a program, not {len(wanted)}")
    return [_trial(row, setting, seed) for row, (setting, seed) in zip(rows, wanted, strict=True)]


def _trial(row: Any, setting: Mapping[str, float], seed: int) -> StoredTrial:
    match row:
        case [told, told_seed, str(status), (float() | None) as loss, str(reason)]:
            pass
        case _:
            raise Garbage(f"a trial of the wrong form: {row!r:.60}")
    if told != setting or told_seed != seed:
        raise Garbage("a trial with another setting or seed")
    if status not in STATUSES or (loss is None) == (status == "ok") or (loss is not None and not math.isfinite(loss)):
        raise Garbage(f"a trial with the status {status!r:.20} and the loss {loss}")
    return StoredTrial(dict(setting), seed, status, math.inf if loss is None else loss, reason)
