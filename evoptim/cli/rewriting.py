"""``evoptim equal`` and ``evoptim simplify``: what algebra says about rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evoptim.dsl import Counterexample, Rule, Simplification, Step, UserError, Verdict, simplify_rule
from evoptim.dsl.laws import Grade
from evoptim.dsl.simplification import GRADES

if TYPE_CHECKING:
    from ..studies.ablating import Simplified

_MEANING: dict[Grade, str] = {
    "exact": "exact: the same bits",
    "real": "real: other rounding, and single points such as 0/0",
    "assumed": "assumed: near, for what optimizers usually see; try it by training",
}


def settings(texts: list[str]) -> dict[str, float]:
    """The values of ``weight_decay=0``, ``beta1=0.9``.

    Raises:
        UserError: A text is none of that form.
    """
    out: dict[str, float] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            out[key] = float(value)
        except ValueError as error:
            raise UserError(f"{text!r} sets no hyperparameter", "write it as weight_decay=0") from error
    return out


def grade(text: str) -> Grade:
    """The grade of that name.

    Raises:
        UserError: There is none.
    """
    for known in GRADES:
        if text == known:
            return known
    raise UserError(f"there is no grade {text!r}", f"the grades are {', '.join(GRADES)}")


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """A verdict for a reader."""
    yield f"{verdict.status}: {verdict.how}"
    if verdict.example is not None:
        yield from (f"  {line}" for line in str(verdict.example).splitlines())


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """The same for programs."""
    example = verdict.example
    return {
        "status": verdict.status,
        "how": verdict.how,
        "exact": verdict.exact,
        "example": None if example is None else _example(example),
    }


def _example(example: Counterexample) -> dict[str, Any]:
    return {
        "hyperparameters": example.hypers,
        "parameters": [p.tolist() for p in example.params],
        "gradients": [[g.tolist() for g in step] for step in example.gradients],
        "first": [str(p.tolist()) for p in example.first],  # text: they may be infinite or NaN
        "second": [str(p.tolist()) for p in example.second],
    }


def simplification_lines(result: Simplification) -> Iterator[str]:
    """The steps by grade, each with its reason and what it changes; then the rule."""
    if not result.steps:
        yield "nothing to simplify"
    before = 0.0
    for known in GRADES:
        steps = [s for s in result.steps if s.grade == known]
        if steps:
            yield _MEANING[known]
        for step in steps:
            yield f"  {_what(step)}"
            yield f"    {step.why}{_changed(step.change, before)}"
            before = step.change
    yield ""
    yield result.rule.text.rstrip("\n")


def _what(step: Step) -> str:
    return f"{step.before}  ->  {step.after}" if step.after else f"{step.before}  dropped"


def _changed(change: float, before: float) -> str:
    """What a step changes, where it shows; measured on random gradients."""
    if change == before:
        return ""
    return f" (with the steps before it, parameters differ by {change:.1g} of their way on random gradients)"


def simplification_json(result: Simplification) -> dict[str, Any]:
    """The same for programs."""
    return {
        "rule": result.rule.text,
        "steps": [
            {"grade": s.grade, "before": s.before, "after": s.after, "why": s.why, "change": s.change}
            for s in result.steps
        ],
    }


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What was asked of a simplification by training; None for the default."""

    task: str | None = None
    steps: int | None = None
    batch_size: int | None = None
    seeds: int | None = None
    level: float | None = None
    margin: float | None = None
    evaluations: int | None = None
    strict: bool = False
    keep_constants: bool = False


def simplify_rule_text(rule: Rule, upto: str, output: Path | None, console: Console, as_json: bool) -> None:
    """``evoptim simplify`` by algebra alone.

    Raises:
        UserError: There is no such grade, or the file cannot be written.
    """
    result = simplify_rule(rule, grade(upto))
    if output is not None:
        write_rule(result.rule, output)
    if as_json:
        print(json.dumps(simplification_json(result), indent=2, allow_nan=False))
        return
    for line in simplification_lines(result):
        console.print(line, markup=False, soft_wrap=True)


def simplify_run(
    source: str,
    derived: list[str] | None,
    options: TrainingOptions,
    output: Path | None,
    console: Console,
    as_json: bool,
) -> None:
    """``evoptim simplify`` by training.

    Raises:
        UserError: The source, an option or the file is wrong, or the rule does not train.
    """
    from evoptim.search.refining.ablation import AblationConfig

    from ..studies.ablating import simplify_by_training, summary

    chosen = {k: v for k in ("level", "margin", "evaluations") if (v := getattr(options, k)) is not None}
    result = simplify_by_training(
        source,
        derived=derived or (),
        task=options.task,
        steps=options.steps,
        batch_size=options.batch_size,
        seeds=options.seeds or 16,
        config=AblationConfig(**chosen, strict=options.strict),
        keep_constants=options.keep_constants,
        report=lambda document: None if as_json else _tell(document, console),
    )
    if output is not None:
        write_rule(result.rule, output)
    if as_json:
        removals = [asdict(r) for r in result.ablation.removals]
        exact = [_what(s) for s in result.exact]
        print(json.dumps({**summary(result), "removals": removals, "exact": exact}, indent=2, allow_nan=False))
    else:
        _conclude(result, source, console)


def write_rule(rule: Rule, path: Path) -> None:
    """Write a rule file.

    Raises:
        UserError: It cannot be written.
    """
    try:
        path.write_text(rule.text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}", "choose another place") from error


def _tell(document: dict[str, Any], console: Console) -> None:
    """A line for a piece that went."""
    removed = document.get("removed")
    if removed:
        line = f"{document['tried']} programs trained: {removed['before']}  ->  {removed['after'] or 'dropped'}"
        console.print(line, markup=False, soft_wrap=True)


def _conclude(result: Simplified, source: str, console: Console) -> None:
    """What went, what it cost, and what is left."""
    ablation = result.ablation
    table = Table(
        title=f"{len(ablation.removals)} pieces taken out on {result.task}, of {ablation.tried} programs trained on "
        f"{len(result.seeds)} seeds" + ("" if ablation.complete else "; the budget ended it"),
        title_justify="left",
        caption="cost: change of the mean loss; size: operations, buffers and hyperparameters left",
        caption_justify="left",
    )
    for column in ("what", "now", "cost", "size"):
        table.add_column(column, justify="right" if column in ("cost", "size") else "left")
    for step in result.exact:
        table.add_row(escape(step.before), escape(step.after or "dropped"), "exact", "")
    for r in ablation.removals:
        table.add_row(escape(r.before), escape(r.after or "dropped"), f"{r.cost:+.2%}", str(r.size[0]))
    console.print(table)
    console.print(_cost(result), markup=False)
    console.print(f"\n{result.rule.text}", markup=False, soft_wrap=True)
    directory, mark, _ = source.rpartition("#")
    if mark:
        console.print(f"saved as {directory}#simplified", markup=False, soft_wrap=True)


def _cost(result: Simplified) -> str:
    """What all of it cost, on fresh seeds."""
    failed = [sum(x == float("inf") for x in losses) for losses in (result.before, result.after)]
    seeds = f"on {len(result.fresh)} fresh seeds"
    if any(failed):
        return f"{seeds} the original fails on {failed[0]}, the simplified one on {failed[1]}"
    before, after = (sum(x) / len(x) for x in (result.before, result.after))
    cost = result.cost
    interval = f"{cost.mean:+.2%} [{cost.low:+.2%}, {cost.high:+.2%}]"
    return f"{seeds} the mean loss is {after:.4f}, that of the original {before:.4f}: {interval}, paired"
