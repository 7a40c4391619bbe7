"""The table of mutations: each takes a program apart and gives a changed one, or None where it cannot.

The first three are Lion's (Chen et al. 2023, appendix): insert a statement, delete one, change one argument. New
constants are drawn from N(0, 1), old ones are multiplied by 2 to the power N(0, 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from types import MappingProxyType

from evoptim.dsl import OPS, Assign, Hyper, Node, Reduce, Rule, const, is_valid, name
from evoptim.dsl.check import reduction_of
from evoptim.dsl.derived import substitute
from evoptim.dsl.rule import with_values

from .derivation import derived
from .frame import OUTSIDE
from .program import Program, applied

SEARCH_OPS: tuple[str, ...] = tuple(
    "add sub mul safe_div div max min ema lerp clip abs sign square sqrt safe_sqrt exp safe_log neg reciprocal "
    "tanh arctan power norm rms mean dot cosine cube".split()
)
"""What an inserted statement may do; protected forms stand beside the plain ones."""

LONGEST_FRAGMENT = 4
"""Statements taken over from another program at most."""

Mutate = Callable[[Program], Rule | None]
"""Changes the program's blocks and gives it rebuilt, or None where there is nothing to change."""


def insert(program: Program) -> Rule | None:
    """A random operation on random arguments, its result under a new name or in place of an existing one."""
    random = program.random
    block = random.choice(program.blocks)
    op = OPS[random.choice(SEARCH_OPS)]
    value = applied(op.name, tuple(program.argument() for _ in op.args))
    target = random.choice([*program.targets(), program.fresh()])
    block.insert(random.randrange(len(block) + 1), Assign(target, value))
    program.told = f"{target} = {op.name}"
    return program.rebuilt()


def delete(program: Program) -> Rule | None:
    """Remove a statement; where its name would be undefined, one of its arguments stands in for it."""
    place = program.pick()
    if place is None:
        return None
    block, i = place
    gone = block.pop(i)
    program.told = f"{gone.target} = {gone.value.op}"
    rebuilt = program.rebuilt()
    if not gone.value.args:
        return rebuilt
    if is_valid(rebuilt):
        program.checked = True
        return rebuilt
    stand_in = {gone.target: program.random.choice(gone.value.args)}
    for j in range(i, len(block)):
        block[j] = Assign(block[j].target, substitute(block[j].value, stand_in, applied))
        if block[j].target == gone.target:
            break
    return program.rebuilt()


def modify(program: Program) -> Rule | None:
    """Change one argument: a constant is rescaled or replaced, a name is replaced."""
    place = program.pick()
    if place is None or not place[0][place[1]].value.args:
        return None
    random, (block, i) = program.random, place
    statement = block[i]
    arguments = list(statement.value.args)
    k = random.randrange(len(arguments))
    old = arguments[k]
    if isinstance(old.value, float) and random.random() < 0.5:
        arguments[k] = const(float(f"{old.value * 2 ** random.gauss(0, 1):.6g}"))
    else:
        arguments[k] = program.argument()
    if arguments[k] is old:
        return None
    block[i] = Assign(statement.target, applied(statement.value.op, tuple(arguments)))
    program.told = f"{statement.target}: {old.value} -> {arguments[k].value}"
    return program.rebuilt()


def swap(program: Program) -> Rule | None:
    """Put another operation of the same arity, reduction and kind of argument in a statement."""
    place = program.pick()
    if place is None:
        return None
    block, i = place
    statement = block[i]
    others = alike(statement.value.op)
    if not others:
        return None
    op = program.random.choice(others)
    block[i] = Assign(statement.target, applied(op, statement.value.args))
    program.told = f"{statement.target}: {statement.value.op} -> {op}"
    return program.rebuilt()


@cache
def alike(op: str) -> tuple[str, ...]:
    """The operations that can stand in the place of one: elementwise ones of the search, or reductions alike."""
    row = OPS.get(op)
    if row is None or row.condition or row.kind is not None:
        return ()
    return tuple(
        other.name
        for other in OPS
        if other.name != op
        and (other.arity, other.comparison, _axis(other.name)) == (row.arity, row.comparison, _axis(op))
        and not other.condition
        and other.kind is None
        and (other.name in SEARCH_OPS or other.comparison or _axis(op) is not None)
    )


def _axis(op: str) -> Reduce | None:
    row = OPS[op]
    return reduction_of(row) if row.derived else row.reduce


def splice(program: Program) -> Rule | None:
    """Take over a run of statements from another program of the population.

    Temporaries of the fragment get new names; what it reads and this program does not have becomes a random argument;
    its last result goes where an inserted statement's would.
    """
    random = program.random
    block = random.choice(program.blocks)
    source = Program(program.mate(), random, program.mate)
    place = source.pick()
    if place is None:
        return None
    whole, begin = place
    fragment = whole[begin : begin + random.randint(1, LONGEST_FRAGMENT)]
    at = random.randrange(len(block) + 1)
    block[at:at] = _adopted(program, fragment)
    program.told = f"{len(fragment)} statements"
    return program.rebuilt()


def _adopted(program: Program, fragment: list[Assign]) -> list[Assign]:
    """The fragment in the names of the program that takes it over."""
    known, out = set(program.names()), list[Assign]()
    new: dict[str, Node] = {}
    for k, statement in enumerate(fragment):
        for read in sorted(statement.value.names - new.keys() - known):
            new[read] = program.argument()
        value = substitute(statement.value, new, applied)
        if k == len(fragment) - 1:
            target = program.random.choice([*program.targets(), program.fresh()])
        else:
            target = next(n for i in range(1, 10**6) if (n := f"x{i}") not in known)
            known.add(target)
            new[statement.target] = name(target)
        out.append(Assign(target, value))
    return out


def transform(program: Program) -> Rule | None:
    """Apply one of the language's transforms, such as clipping or caution, to the whole program."""
    return derived(program)


def promote(program: Program) -> Rule | None:
    """Make a constant a hyperparameter, wherever that value stands: a tuner can find it, and its uses stay equal."""
    atoms = (n for b in program.blocks for a in b for n in (a.value, *a.value.args))
    found = [n for n in atoms if n.op == "const"]
    if not found:
        return None
    chosen = program.random.choice(found)
    assert isinstance(chosen.value, float)
    hyper = program.fresh("c")
    program.told = f"{hyper} = {chosen.value:g}"
    changed = _replaced(program.rebuilt(), chosen, name(hyper))
    return changed.replace(hypers=(*changed.hypers, Hyper(hyper, chosen.value)))


def demote(program: Program) -> Rule | None:
    """Make a hyperparameter other than the learning rate and the decay a constant again."""
    hypers = [h for h in program.rule.hypers if h.name not in OUTSIDE]
    if not hypers:
        return None
    chosen = program.random.choice(hypers)
    program.told = f"{chosen.name} = {chosen.default:g}"
    changed = _replaced(program.rebuilt(), name(chosen.name), const(chosen.default))
    return changed.replace(hypers=tuple(h for h in changed.hypers if h is not chosen))


def constant(program: Program) -> Rule | None:
    """Change one constant or one default, other than of the learning rate and the decay, and nothing else."""
    hypers = [h for h in program.rule.hypers if h.name not in OUTSIDE]
    atoms = [(b, i, a) for b, i in program.places() for a in (b[i].value, *b[i].value.args) if a.op == "const"]
    if not hypers and not atoms:
        return None
    chosen = program.random.choice([*hypers, *atoms])
    if isinstance(chosen, Hyper):
        value = _rescaled(chosen.default, program.random)
        program.told = f"{chosen.name}: {chosen.default:g} -> {value:g}"
        if chosen.declared is not None and value not in chosen.declared:
            return None
        changed = tuple(Hyper(h.name, value, h.declared) if h is chosen else h for h in program.rule.hypers)
        return program.rule.replace(hypers=changed)
    block, i, old = chosen
    assert isinstance(old.value, float)
    value, statement = _rescaled(old.value, program.random), block[i]
    block[i] = Assign(statement.target, _with_atom(statement.value, old, const(value)))
    program.told = f"{statement.target}: {old.value:g} -> {value:g}"
    return program.rebuilt()


def _rescaled(value: float, random: Random) -> float:
    """A number times 2 to the power N(0, 1), or the distance to 1 of what looks like a decay rate; N(0, 1) for 0."""
    factor = 2 ** random.gauss(0, 1)
    changed = 1 - (1 - value) * factor if 0.5 < value < 1 else value * factor if value else random.gauss(0, 1)
    return float(f"{changed:.6g}")


def _replaced(rule: Rule, old: Node, new: Node) -> Rule:
    """The program with one atom in the place of another; the frame holds neither."""

    def changed(value: Node) -> Node:
        return _with_atom(value, old, new)

    body = with_values(rule.body, changed)
    return dataclasses.replace(rule.replace(body=body), returns=tuple(map(changed, rule.returns)))


def _with_atom(value: Node, old: Node, new: Node) -> Node:
    """A flat expression with one atom in the place of another."""
    if value is old:
        return new
    if old not in value.args:
        return value
    return applied(value.op, tuple(new if a is old else a for a in value.args))


MUTATIONS: Mapping[str, Mutate] = MappingProxyType(
    {
        "insert": insert,
        "delete": delete,
        "modify": modify,
        "swap": swap,
        "splice": splice,
        "transform": transform,
        "promote": promote,
        "constant": constant,
        "demote": demote,
    }
)
"""The mutations by the names under which the configuration has their weights."""
