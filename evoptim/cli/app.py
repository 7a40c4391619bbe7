"""All commands. Heavy imports stand inside them, so that ``--help`` is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from evoptim.dsl import GROUPS, Rule, UserError, rule_names

app = typer.Typer(
    name="evoptim",
    help="Write an optimizer's update rule, search for better ones, export them as torch.optim classes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=120)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]
Source = Annotated[str, typer.Argument(help="A rule's name, a rule file, or RUN#best, RUN#17 from a run directory.")]
Derived = Annotated[
    list[str] | None,
    typer.Option("--with", help="Derive the rule first, such as lookahead:k=5 or lazy; may be given more than once."),
]
TASK_HELP = "A task, such as digits_mlp or digits_mlp+small_batch; evoptim tasks lists them."


def _load(source: str, derived: list[str] | None = None) -> Rule:
    from evoptim.dsl.transforms import derive
    from evoptim.sources import resolve

    rule = resolve(source)
    for description in derived or []:
        rule = derive(rule, description)
    return rule


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"evoptim {version('evoptim')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def rules(as_json: Json = False) -> None:
    """List the rules that come with evoptim, one line each."""
    from rich.table import Table

    found = {group: [_load(n) for n in rule_names(group)] for group in GROUPS}
    if as_json:
        _print_json(
            [
                {
                    "name": r.name,
                    "group": GROUPS[group],
                    "doc": r.doc,
                    "hyperparameters": r.defaults,
                    "buffers": [b.name for b in r.buffers],
                }
                for group, members in found.items()
                for r in members
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for column in ("rule", "buffers", "what it is"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for group, members in found.items():
        table.add_row(f"[bold]{GROUPS[group]}[/bold]")
        for r in members:
            table.add_row(f"  {r.name}", str(len(r.buffers)), escape(r.doc.split("\n")[0]))
    console.print(table)


@app.command()
def ops(as_json: Json = False) -> None:
    """List the operations of the rule language."""
    from rich.table import Table

    from evoptim.dsl import OPS

    if as_json:
        _print_json([{"name": o.name, "signature": o.signature, "symbol": o.symbol, "doc": o.doc} for o in OPS])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("operation", no_wrap=True)
    table.add_column("what it is")
    for o in OPS:
        infix = f"x {o.symbol} y" if o.arity == 2 else f"{o.symbol}x"
        table.add_row(infix if o.symbol else o.signature, o.doc)
    console.print(table)


@app.command()
def show(
    source: Source,
    latex: Annotated[bool, typer.Option("--latex", help="Print the update as LaTeX.")] = False,
    canonical: Annotated[bool, typer.Option("--canonical", help="Print the canonical form.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Print the generated optimizer.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print how a step runs: stages, bytes, operations.")] = False,
    kernel: Annotated[str, typer.Option("--kernel", help="Print the kernels of a target: cpp or triton.")] = "",
    derived: Derived = None,
    as_json: Json = False,
) -> None:
    """Print a rule: its text, its mathematics, its canonical form or its generated code."""
    from rich.syntax import Syntax

    from evoptim.dsl import canonical_hash, canonicalize
    from evoptim.dsl import latex as to_latex

    rule = _load(source, derived)
    if as_json:
        _print_json(
            {
                "name": rule.name,
                "text": rule.text,
                "canonical": canonicalize(rule).text,
                "hash": canonical_hash(rule),
                "latex": to_latex(rule),
                "hyperparameters": rule.defaults,
            }
        )
    elif latex:
        print(to_latex(rule))
    elif plan:
        from evoptim.codegen import plan as make_plan

        print("\n\n".join(make_plan(rule, matrix).text for matrix in rule.classes))
    elif kernel:
        from evoptim.codegen import kernel_source

        _code(kernel_source(rule, kernel), Syntax, "cpp" if kernel == "cpp" else "python")
    elif code:
        from evoptim.codegen import source as generated

        _code(generated(rule), Syntax)
    else:
        _code((canonicalize(rule) if canonical else rule).text, Syntax)


def _code(text: str, syntax: Any, language: str = "python") -> None:
    """Coloured on a terminal, byte for byte anywhere else."""
    if console.is_terminal:
        console.print(syntax(text.rstrip("\n"), language, background_color="default", word_wrap=True))
    else:
        print(text, end="")


@app.command()
def equal(
    first: Source,
    second: Source,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Compare with this value of a hyperparameter, such as weight_decay=0."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether two rules are the same: proved, refuted (with an input that shows it), or not decided."""
    from evoptim.dsl import equal as decide

    from .rewriting import settings, verdict_json, verdict_lines

    verdict = decide(_load(first), _load(second), settings(set_ or []))
    if as_json:
        _print_json(verdict_json(verdict))
        return
    for line in verdict_lines(verdict):
        console.print(line, markup=False, soft_wrap=True)


@app.command()
def simplify(
    source: Source,
    task: Annotated[str | None, typer.Option(help=f"Try what may go by training. {TASK_HELP}")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates per training; by default as searched.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples per update, in the same way.")] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="Seeds of the paired tests [default: 16]")] = None,
    level: Annotated[float | None, typer.Option(help="Level of these tests [default: 0.05]")] = None,
    margin: Annotated[float | None, typer.Option(help="Rise of the loss allowed, as a share [default: 0.02]")] = None,
    evaluations: Annotated[int | None, typer.Option(min=1, help="Programs trained at most [default: 2000]")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Show that the rise is below the margin.")] = False,
    keep_constants: Annotated[
        bool, typer.Option("--keep-constants", help="Make no hyperparameters of the constants.")
    ] = False,
    upto: Annotated[
        str | None,
        typer.Option("--upto", help="By algebra alone, and how far: exact, real (other rounding) or assumed."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The rule file to write.")] = None,
    derived: Derived = None,
    as_json: Json = False,
) -> None:
    """Reduce a rule to what it comes down to, each step named.

    A program of a run, or any rule with --task, loses what it trains as well without; the result is RUN#simplified.
    Another rule is reduced by algebra alone, which justifies and measures each step.
    """
    from .rewriting import TrainingOptions, simplify_rule_text, simplify_run

    options = TrainingOptions(task, steps, batch_size, seeds, level, margin, evaluations, strict, keep_constants)
    by_training = upto is None and ("#" in source or task is not None)
    if by_training:
        simplify_run(source, derived, options, output, console, as_json)
    elif options != TrainingOptions():
        raise UserError("nothing is trained here", "give --task, or a program of a run, and no --upto")
    else:
        simplify_rule_text(_load(source, derived), upto or "assumed", output, console, as_json)


@app.command()
def check(source: Source, derived: Derived = None, as_json: Json = False) -> None:
    """Check a rule: errors with carets, the kinds of its values, memory, and a short numeric run."""
    from .checking import examine, render

    findings = examine(_load(source, derived))
    if as_json:
        _print_json(findings)
    else:
        render(findings, console)


@app.command()
def export(
    source: Source,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The Python file to write.")] = None,
    package: Annotated[
        Path | None, typer.Option(help="The folder to make: a package to install, with tests and a model card.")
    ] = None,
    target: Annotated[
        str, typer.Option(help="torch, cpp (C++ too), triton (GPU kernels too), or auto for all.")
    ] = "auto",
    class_name: Annotated[str | None, typer.Option(help="Name of the class; by default from the rule.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the package; by default after the rule.")] = None,
    release: Annotated[str | None, typer.Option(help="Version of the package; by default 0.1.0.")] = None,
    derived: Derived = None,
) -> None:
    """Write a rule as one importable file with a torch.optim.Optimizer class, or as a package; it needs torch alone."""
    import evoptim
    from evoptim.codegen.packaging.names import choose_names
    from evoptim.codegen.signature import class_name as name_of

    if (output is None) == (package is None):
        raise UserError("export writes either a file or a package", "give one of -o FILE and --package FOLDER")
    if package is None and (name is not None or release is not None):
        raise UserError("only a package has a name and a release", "give --package FOLDER in place of -o FILE")
    rule = _load(source, derived)
    if output is not None:
        path = evoptim.export(rule, output, target=target, class_name=class_name)
        print(f"wrote {path}: from {path.stem} import {name_of(rule, class_name)}")
    if package is not None:
        names = choose_names(rule, name, release or "0.1.0", class_name)
        evoptim.export_package(
            rule, package, name=names.project, version=names.version, target=target, class_name=class_name
        )
        place = package if package.is_absolute() else f"./{package}"  # else pip would look for it on PyPI
        print(f"wrote {package}: pip install {place}, then from {names.module} import {names.optimizer}")


@app.command()
def bench(
    sources: Annotated[list[str], typer.Argument(help="Rules; those that torch has too are timed next to it.")],
    tensors: Annotated[int, typer.Option(min=1, help="How many parameters.")] = 16,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each.")] = 1000,
    cols: Annotated[int, typer.Option(min=1, help="Columns of each.")] = 1000,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    rounds: Annotated[int, typer.Option(min=1, help="Steps timed of each.")] = 15,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Json = False,
) -> None:
    """Time the steps of optimizers, next to torch's own and to a plain copy of memory."""
    from evoptim.stepping import bench as measure

    from .tables import bench_json, bench_table

    result = measure([_load(s) for s in sources], tensors, rows, cols, dtype, rounds, device)
    if as_json:
        _print_json(bench_json(result))
    else:
        console.print(bench_table(result))


@app.command()
def tune(
    source: Source,
    task: Annotated[str | None, typer.Option(help=f"{TASK_HELP} By default the run's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates per training; by default as searched.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples per update, in the same way.")] = None,
    trials: Annotated[int, typer.Option(min=2, help="Settings tried, the defaults among them.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Settings trained together.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds each setting is trained on.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choices.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the rule with the best defaults here.")
    ] = None,
    derived: Derived = None,
    as_json: Json = False,
) -> None:
    """Tune all hyperparameters of a rule in their domains by Optuna's TPE; a domain is widened where that helps.

    The constants of a run's program become hyperparameters first.
    """
    from evoptim.search.refining.tuning import TuningConfig

    from .tuning import run_tuning

    config = TuningConfig(trials=trials, batch=batch, seeds=tuple(range(1000, 1000 + seeds)), seed=seed)
    run_tuning(source, derived, (task, steps, batch_size), config, output, console, as_json)


@app.command()
def compare(
    sources: Annotated[list[str], typer.Argument(help="Rules; the first is what the others are compared with.")],
    task: Annotated[
        list[str] | None, typer.Option(help=f"{TASK_HELP} May be given more than once. [default: digits_mlp]")
    ] = None,
    level: Annotated[int | None, typer.Option(min=0, help="All tasks of this level.")] = None,
    trials: Annotated[int, typer.Option(min=3, help="Settings each rule may try on each task.")] = 12,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds for the final trainings.")] = 8,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates per training [default: 200; of several tasks, each one's own]")
    ] = None,
    tuner: Annotated[str, typer.Option(help="lr, or optuna for all hyperparameters.")] = "lr",
    save: Annotated[Path | None, typer.Option(help="A folder for CSV files and the plot of the profiles.")] = None,
    as_json: Json = False,
) -> None:
    """Compare rules fairly: equal tuning budgets, fresh seeds, paired differences with intervals, what steps cost."""
    from evoptim.studies.comparing import compare_sources, tasks_of_level, tuner_of

    from .comparing import present

    if level is not None and task:
        raise UserError("--task with --level", "give tasks, or a level")
    names = tasks_of_level(level) if level is not None else task or ["digits_mlp"]
    result = compare_sources(sources, names, trials=trials, seeds=seeds, steps=steps, tuner=tuner_of(tuner))
    present(result, save, as_json, console)


@app.command()
def search(
    config: Annotated[Path | None, typer.Argument(help="A search.toml; docs/search.md has every key.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the search in this run directory.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Run directory [default: runs/DATE-NAME]")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Limit in place of budget.minutes, such as 90s or 2h; time spent before counts.")
    ] = None,
    evaluations: Annotated[
        int | None, typer.Option(help="Limit in place of budget.evaluations; those made before count.")
    ] = None,
    log: Annotated[
        list[str] | None, typer.Option(help="Tell tensorboard, wandb or mlflow too; may be given more than once.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that train, in place of workers.processes; 0: none.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on Ray: a cluster's address, auto, or local for one made here."),
    ] = None,
    init: Annotated[bool, typer.Option("--init", help="Print a search.toml to start from, and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Search for better rules. Ctrl-C finishes the batch and stops; --resume goes on from there.

    With --resume, --time and --evaluations give a run that has ended a larger budget.
    """
    from evoptim.search import Limits
    from evoptim.workers import Staff

    from .durations import minutes
    from .searching import run_search, template

    if init:
        print(template(), end="")
        return
    limits = Limits(evaluations=evaluations, minutes=None if time is None else minutes(time))
    staff = Staff(processes=workers, ray=ray)
    run_search(config, resume, output, limits, log or [], staff, as_json, console)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write [default: RUN/report.html]")
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Print a summary, and write no page.")] = False,
    as_json: Json = False,
) -> None:
    """Tell of a search: print a summary, and write a page of its own with figures, lineage, code and caveats."""
    from evoptim.report import collect

    from .reporting import render, summarize, write_page

    if output is not None and (text or as_json):
        raise UserError("--output with --text or --json", "these print and write no page")
    facts = collect(run)
    if as_json:
        _print_json(summarize(facts))
        return
    render(summarize(facts), console)
    if not text:
        write_page(facts, output)


@app.command()
def sealed(
    run: Annotated[Path, typer.Argument(help="A run directory whose search has ended.")],
    opens: Annotated[bool, typer.Option("--open", help="Open the sealed tasks: once per run.")] = False,
    as_json: Json = False,
) -> None:
    """Examine a winner and tuned baselines on tasks that no search sees; without --open, say what that means."""
    from .sealing import run_sealed

    document = run_sealed(run, opens, as_json, console)
    if document is not None:
        _print_json(document)


@app.command()
def tasks(
    names: Annotated[list[str] | None, typer.Argument(help="Tasks or variants of tasks; all tasks by default.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a few steps of each on one core.")] = False,
    as_json: Json = False,
) -> None:
    """List the proxy tasks: size, data and licence, and whether the data are here."""
    from evoptim.runtime import TASKS

    from .tasks import describe, render

    rows = describe(names or list(TASKS), measure)
    if as_json:
        _print_json(rows)
    else:
        render(rows, console)
