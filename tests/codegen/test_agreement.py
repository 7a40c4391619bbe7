"""Generated optimizers do what the reference does: seed rules, random rules, and rules made to be awkward."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from both_ways import SHAPES, agree, draw, tensor_values, train, with_lr
from hypothesis import given, settings
from strategies import rules

from evoptim.codegen import compile_rule
from evoptim.dsl import OPS, Assign, Hyper, Node, Op, Reduce, Reference, Rule, const, load, name, parse, rule_names
from evoptim.dsl.check import reduction_of

SPECIAL = np.array([0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-300, 1e300, -1e300, np.inf, -np.inf, np.nan])


def axis_of(op: Op) -> Reduce | None:
    return op.reduce or (reduction_of(op) if op.derived else None)


ELEMENTWISE = [op.name for op in OPS if axis_of(op) is None and op.kind is None]
REDUCTIONS = {axis: [op.name for op in OPS if axis_of(op) is axis] for axis in Reduce}


# --- rules as they come ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rule_name", rule_names())
def test_zoo_rules(rule_name: str, dtype: torch.dtype) -> None:
    agree(load(rule_name), dtype, steps=4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rule_name", rule_names())
def test_zoo_rules_in_cpp(rule_name: str, dtype: torch.dtype) -> None:
    agree(load(rule_name), dtype, shapes=(*SHAPES, (270, 300)), steps=4, target="cpp")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rule_name", rule_names())
def test_zoo_rules_with_step_and_lr_on_the_device(rule_name: str, dtype: torch.dtype) -> None:
    agree(load(rule_name), dtype, steps=4, capturable=True)


@pytest.mark.parametrize("rule_name", rule_names())
def test_a_capturable_step_reads_nothing_on_the_host(rule_name: str) -> None:
    """Tensors on meta have no values: reading one raises."""
    params = [torch.nn.Parameter(torch.empty(s, device="meta")) for s in SHAPES]
    optimizer = compile_rule(load(rule_name))(params, capturable=True)
    optimizer.param_groups[0]["lr"] = torch.empty((), device="meta")
    for _ in range(2):
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.step()
    assert all(s["step"].device.type == "meta" for s in optimizer.state.values())


@settings(max_examples=max(40, settings.default.max_examples // 20))
@given(rules(tame=True))
def test_random_rules_in_cpp(rule: Rule) -> None:
    agree(with_lr(rule), target="auto", steps=4)


@settings(max_examples=max(20, settings.default.max_examples // 20))
@given(rules(tame=True))
def test_random_rules_in_cpp_in_float32(rule: Rule) -> None:
    agree(with_lr(rule), torch.float32, target="auto", steps=4)


@given(rules(tame=True))
def test_random_rules(rule: Rule) -> None:
    agree(with_lr(rule))


@settings(max_examples=max(60, settings.default.max_examples // 5))
@given(rules(tame=True))
def test_random_rules_with_step_and_lr_on_the_device(rule: Rule) -> None:
    agree(with_lr(rule), capturable=True)


@given(rules(tame=True))
def test_random_rules_in_float32(rule: Rule) -> None:
    agree(with_lr(rule), torch.float32)


@given(rules())
def test_wild_rules_run(rule: Rule) -> None:
    """Whatever overflows, divides by zero or leaves a domain on the way: nothing raises, shapes and dtypes stay."""
    hypers = tuple(Hyper(h.name, 0.9 if h.name.startswith("beta") else abs(h.default)) for h in with_lr(rule).hypers)
    optimizer, params = train(rule.replace(hypers=hypers), *draw(SHAPES, 3))
    kinds = {b.name: b.kind.annotation for b in rule.buffers}
    for p in params:
        row, col = ((*p.shape[:-1], 1), (*p.shape[:-2], 1, *p.shape[-1:]))
        shapes = {"tensor": p.shape, "row": row, "col": col, "scalar": ()}
        for key, value in optimizer.state[p].items():
            assert key == "step" or (value.shape == shapes[kinds[key]] and value.dtype == torch.float64)


@pytest.mark.parametrize("rule_name", rule_names())
def test_maximize_follows_the_gradient(rule_name: str) -> None:
    rule = load(rule_name)
    params, grads = draw(SHAPES, 3)
    optimizer, up = train(rule, params, grads, maximize=True)
    other, down = train(rule, params, [[-g for g in step] for step in grads])
    for key, value in tensor_values(optimizer, up, rule).items():
        np.testing.assert_array_equal(value, tensor_values(other, down, rule)[key])


# --- every operation ------------------------------------------------------------------------------------


def call(op: Op, first: tuple[str, ...] = ("g", "w", "m")) -> Node:
    """An operation of names; a condition compares the first two."""
    args = tuple(map(name, first[: op.arity]))
    node = Node(op.name, (Node("less", args[:2]), *args[1:]) if op.condition else args)
    return Node("where", (node, const(1), const(2))) if op.comparison else node


def using(value: Node) -> Rule:
    """A rule that adds a value to the parameter."""
    rule = parse("def r(w, g, m: init(w), *, lr=0.5):\n    return w - lr * g, w + m")
    return rule.replace(body=(Assign("w", Node("add", (name("w"), value))),), returns=(name("w"), rule.returns[1]))


@pytest.mark.parametrize("op_name", ELEMENTWISE)
def test_elementwise_operations(op_name: str) -> None:
    agree(using(call(OPS[op_name])))


@pytest.mark.parametrize("op_name", ELEMENTWISE)
def test_elementwise_operations_on_special_values(op_name: str) -> None:
    grid = np.meshgrid(SPECIAL, SPECIAL)
    agree(using(call(OPS[op_name])), data=([grid[0]], [[grid[1]]]))


@pytest.mark.parametrize("op_name", ["max", "min"])
def test_extrema_hand_on_nan(op_name: str) -> None:
    grid = np.meshgrid(SPECIAL, SPECIAL)
    for bound in ("w", "0.5"):
        rule = parse(f"def r(w, g, *, lr=0.5):\n    return {op_name}(g, {bound})")
        agree(rule, data=([grid[0]], [[grid[1]]]))


@pytest.mark.parametrize("op_name", REDUCTIONS[Reduce.TENSOR])
def test_tensor_reductions(op_name: str) -> None:
    agree(using(call(OPS[op_name])))


@pytest.mark.parametrize("op_name", REDUCTIONS[Reduce.ROW] + REDUCTIONS[Reduce.COL])
def test_row_and_column_reductions(op_name: str) -> None:
    arguments = "g, w" if OPS[op_name].arity == 2 else "g"
    agree(
        parse(f"""
def r(w, g, *, lr=0.5):
    if matrix:
        w = w - lr * {op_name}({arguments})
    return w
""")
    )


@pytest.mark.parametrize("op_name", REDUCTIONS[Reduce.GLOBAL])
def test_global_reductions(op_name: str) -> None:
    agree(using(call(OPS[op_name])))
    agree(using(Node(op_name, tuple(Node("norm", (name(a),)) for a in "gw"[: OPS[op_name].arity]))))


MATRIX_VALUES = {
    "tall product": "matmul(matmul(g, transpose(w)), g)",
    "wide product": "matmul(g, matmul(transpose(w), g))",
    "transposed twice": "transpose(transpose(g) * 2)",
    "powers": "matmul(matmul(matmul(g, transpose(g)), matmul(w, transpose(w))), g)",
    "norm of a product": "norm(matmul(g, transpose(w)))",
    "rows of a product": "row_mean(matmul(g, transpose(w)))",
    "columns of a product": "transpose(row_sum(matmul(transpose(g), w)))",
    "outer product": "matmul(row_mean(g), col_mean(w))",
    "matrix and vector": "matmul(g, transpose(col_mean(w)))",
    "one value per matrix": "sqrt(col_sum(row_sum(square(g)))) * col_max(row_max(w))",
    "shape": "g * sqrt(max(1, rows / cols)) / sqrt(numel) + ndim",
    "shape without tensors": "where(rows > cols, rows, 0.5) * log(cols)",
    "static condition": "where(ndim > 2, g, w)",
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("value", MATRIX_VALUES)
@pytest.mark.parametrize("target", ["torch", "auto", "triton"])
def test_matrix_operations(value: str, dtype: torch.dtype, target: str) -> None:
    rule = parse(f"""
def r(w, g, *, lr=0.5):
    if matrix:
        w = w - lr * {MATRIX_VALUES[value]}
    else:
        w = w - lr * g / numel
    return w
""")
    agree(rule, dtype, target=target)


def test_facts_over_all_parameters() -> None:
    agree(
        parse("""
def r(w, g, s: scalar, q: global_, *, lr=0.1):
    s = ndim
    q = global_sum(numel / (ndim + 1)) + global_mean(sqrt(numel)) + global_max(numel)
    w = w - lr * g * s / q
    return w, s, q
""")
    )


# --- rules made to be awkward ---------------------------------------------------------------------------

AWKWARD = {
    "host and host": "w = w - lr * where(t < 2, gain, lr) * where(gain > 2, 1, 2) * g",
    "host condition, tensor and number": "w = w - lr * sqrt(where(t < 2, 1, abs(g)))",
    "a long number in a long host expression": "w = w - lr * sin(safe_div(arctan(lr), 3.4028236692091436e+38)) * g",
    "host condition, number and number": "w = w - lr * sqrt(where(t < 2, 1, 4))",
    "host condition, tensor and scalar": "w = w - sum(where(t < 2, norm(g), g))",
    "host condition, tensor and tensor": "w = w - lr * where(t < 2, g, m)\nm = g",
    "tensor condition, numbers": "w = w - where(g < 0, 1, 2)",
    "tensor condition, tensor and number": "w = w - where(g < m, g, 0.5)\nm = where(w > 0, 1, w)",
    "named conditions": "k = g > 0\nh = t > 1\nw = w - where(k, where(h, g, 1), where(h, lr, m))",
    "scalar condition": "w = w - where(norm(g) > 1, g, g / norm(g))",
    "buffers change places": "w = w - lr * (m + 2 * v)\n-> w, v + g, m",
    "three buffers turn": "w = w - lr * (m + 2 * v - 3 * e)\n-> w, v, e, m",
    "a buffer receives w and g": "w = w - lr * (g + m - v)\n-> w, w, g",
    "a buffer receives the old w": "u = w - lr * (g + m)\n-> u, w",
    "a buffer receives the old w by way of where": "u = w - lr * (g + m)\n-> u, where(t > 1, w, m)",
    "w receives a buffer": "m = m + g\nw = w - lr * m\n-> v, m, w",
    "w receives g": "-> g",
    "numbers returned": "w = w - lr * (g + m + s + q)\n-> w, 3, 0.5, lr * t",
    "w is a number": "-> t / 2",
    "w was a number": "w = 3\nw = w - lr * where(g > 0, 1, 2)",
    "g becomes a number": "w = w - lr * g\ng = 2\nw = w * g",
    "shared buffer without a shared value": "w = w - lr * (g + q)\nq = q / 2 + t",
    "shared buffers that change places": "w = w - lr * (g + q + 2 * p)\n-> w, p + 1, q",
    "shared buffer of a shared value": "q = ema(q, global_norm(g), 0.9)\nw = w - lr * g / (1 + q)",
    "nested shared values": "w = w - global_mean(g * global_max(w - global_sum(g))) * g",
    "scalar buffer": "s = ema(s, rms(g), 0.9)\nw = w - lr * g / (s + 1)",
    "init": "w = w - lr * (g - a) + 0.1 * (b - w)\na = g",
    "twice used arguments": "w = w - lr * cube(g + 1) * cbrt(w) - cube(gain + 1) * square(t) * cbrt(lr - 1)",
    "integers": "k = 123456789012\nw = w - g * (k * k) / k**2 + square(1000) * 1000 - 3**30 + 20000000000000000000000",
    "a name like a temporary one": "y1 = cube(g + m)\ny2 = cube(y1 + w)\nw = w - y1 * y2\nm = y1",
    "powers": "w = w - lr * (g**2 + abs(g)**0.5 + abs(w)**-1 + 2**g + 0.9**t - (-2)**2 - -w**2)",
    "signs": "w = -(-g) - -(w - 1) - (-(2)) + -lr * -(g * w)",
    "quotients": "w = w / (g / (w / 2)) - (w - (g - 1)) - 1 / t / lr",
}
ROLES = {"s": "s: scalar", "q": "q: global_", "p": "p: global_", "a": "a: init(g)", "b": "b: init(w)"}


def written(text: str) -> Rule:
    """A rule of these statements; ``->`` begins what it returns, else every buffer returns under its name."""
    body, _, returns = text.partition("->")
    read = set(re.findall(r"\b[a-z]\b", text))
    buffers = [b for b in ("m", "v", "e", "s", "q", "p", "a", "b") if b in read]
    lines = [*filter(None, body.split("\n")), f"return {returns.strip() or ', '.join(['w', *buffers])}"]
    signature = ", ".join(["w", "g", *(ROLES.get(b, b) for b in buffers), *(["t"] if "t" in read else [])])
    hypers = "lr=0.5, gain=3" if "gain" in text else "lr=0.5"
    return parse(f"def r({signature}, *, {hypers}):\n" + "".join(f"    {line}\n" for line in lines))


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
@pytest.mark.parametrize("target", ["torch", "auto"])
def test_awkward_rules(text: str, target: str) -> None:
    agree(written(text), steps=4, target=target)


BRANCHING = """
def numbers_here_and_tensors_there(w, g, m, *, lr=0.5):
    if matrix:
        u = rms(g)
        k = g > 0
        m = m + g
    else:
        u = 1
        k = lr < 1
        m = 2
    return w - where(k, sqrt(u), m) * g, m

def numbers_in_both(w, g, s: scalar, *, lr=0.5):
    if matrix:
        u = lr
    else:
        u = 2
    return w - sqrt(u) * g * (1 + s), u

def a_number_before_and_a_tensor_here(w, g, *, lr=0.5):
    u = 1
    if matrix:
        u = rms(g)
    return w - sqrt(u) * g

def a_number_that_follows_from_another(w, g, *, lr=0.5):
    if matrix:
        u = rms(g)
        v = norm(u * g)
    else:
        u = 1
        v = u + 1
    return w - sqrt(u) * sqrt(v) * g

def w_as_a_number(w, g, t, *, lr=0.5):
    if matrix:
        w = t
        w = sqrt(w) * where(g > 0, 1, 2)
    return w - lr * g

def where_after_branches(w, g, t, *, lr=0.5):
    if matrix:
        u = g
    else:
        u = 1
    return w - sum(where(t < 2, u, g))

def a_number_that_the_others_do_not_have(w, g, *, lr=0.5):
    if matrix:
        w = w - g
    else:
        u = 2
        w = w - u * g
    if matrix:
        w = 2 * w
    else:
        u = sqrt(u) * g
        w = w + u
    return w - lr * g

def a_tensor_that_the_others_get_later_as_a_number(w, g, *, lr=0.5):
    if matrix:
        u = rms(g)
    w = w - g
    if matrix:
        u = u + 1
    else:
        u = 3
    return w - sqrt(u) * g

def rows_change_places(w, g, r: row, x: row, c: col, *, lr=0.5):
    if matrix:
        r = ema(r, row_mean(g), 0.9)
        c = c + col_sum(w)
        w = w - r * c - x
    else:
        w = w - g
    return w, x, r, c

def a_row_receives_a_number(w, g, r: row, *, lr=0.5):
    if matrix:
        x = row_sum(w)
        w = w - r
    else:
        x = 0
    return w - lr * g, x

def buffers_of_one_branch(w, g, m, v, *, lr=0.5):
    if matrix:
        m = m + g
        u = m
    else:
        v = v + 2 * g
        u = v
    return w - lr * u, m, v

def a_buffer_of_one_branch_receives_another(w, g, m, v, *, lr=0.5):
    if matrix:
        w = w - m
        m = v
    return w - lr * (g + v), m, g

def a_statement_for_all_that_one_class_needs(w, g, m, *, lr=0.5):
    if matrix:
        u = m
    else:
        u = g
    z = u
    if matrix:
        z = g
    return w - lr * z, m + g

def rows_without_branches(w, g, s: scalar, r: row, x: row, *, lr=0.5):
    r = g + s
    x = g - s
    return w - lr * r * x, s + 1, s, s

def a_reduced_row(w, g, r: row, *, lr=0.5):
    if matrix:
        r = r + row_mean(g)
        w = w - mean(r) * col_max(r)
    return w, r

def a_shared_value_of_both_branches(w, g, q: global_, *, lr=0.5):
    if matrix:
        u = g * w
    else:
        u = g
    return w - lr * u * q, global_rms(u)

def a_statement_that_reads_a_buffer_for_one_class(w, g, m, x, *, lr=0.5):
    if matrix:
        x = g
    u = w - x * m
    if matrix:
        g = row_mean(u)
    return w - lr * g, m + 1, x
"""
BRANCHES = [parse(text) for text in BRANCHING.strip().split("\n\n")]


@pytest.mark.parametrize("rule", BRANCHES, ids=lambda r: r.name)
@pytest.mark.parametrize("target", ["torch", "auto"])
def test_branching_rules(rule: Rule, target: str) -> None:
    agree(rule, steps=4, target=target)


@pytest.mark.parametrize(
    ("rule_name", "matrix", "vector"),
    [
        ("adafactor", {"r", "c"}, {"v"}),
        ("adafactor_paper", {"r", "c"}, {"v"}),
        ("adamw", {"m", "v"}, {"m", "v"}),
    ],
)
def test_buffers_exist_where_they_are_used(rule_name: str, matrix: set[str], vector: set[str]) -> None:
    optimizer, params = train(load(rule_name), *draw(SHAPES, 1))
    for p in params:
        assert optimizer.state[p].keys() == {"step"} | (matrix if p.dim() >= 2 else vector)


def test_dead_buffers_do_not_exist() -> None:
    rule = parse("def r(w, g, m, v, *, lr=0.5):\n    v = v + g\n    return w - lr * g, g, v")
    optimizer, params = train(rule, *draw(SHAPES, 1))
    assert all(optimizer.state[p].keys() == {"step"} for p in params)


def test_shared_buffers_live_in_their_groups() -> None:
    rule = parse("def r(w, g, q: global_, *, lr=0.5):\n    q = q + global_sum(g)\n    return w - lr * q * g, q")
    params = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    optimizer = compile_rule(rule)([{"params": [p]} for p in params], lr=0.0)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert [float(group["q"]) for group in optimizer.param_groups] == [5.0, 5.0]


def test_the_first_step_of_a_parameter_is_its_own() -> None:
    """A late gradient starts with t = 1 and buffers of its own, as if the optimizer were new."""
    rule = load("adan")
    params, grads = draw([(3,)], 4)
    p, late = (torch.nn.Parameter(torch.tensor(params[0])) for _ in range(2))
    optimizer = compile_rule(rule)([p, late])
    for i, (g,) in enumerate(grads):
        p.grad = torch.tensor(g)
        late.grad = torch.tensor(g) if i >= 2 else None
        optimizer.step()
    for tensor, steps in ((p, grads), (late, grads[2:])):
        run = Reference(rule, params)
        for step in steps:
            run.step(step)
        np.testing.assert_allclose(tensor.detach().numpy(), run.params[0], rtol=1e-12)
