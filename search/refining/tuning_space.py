"""The space in which a rule's hyperparameters are tuned: a domain for each, widened where the best lies at its edge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evoptim.dsl import Domain

if TYPE_CHECKING:
    import optuna

EDGE = 0.08
"""The part of a domain's width, on its scale, that counts as its edge."""
WIDER = 0.5
"""By how much of the width that it had first a domain is widened at a time."""
OFTEN = 4
"""How often a bound may be moved."""
_NEAREST_ONE = 1e-7
"""How near to 1 a decay may come: beyond, float32 does not tell them apart."""


class Space:
    """Domains by name.

    Attributes:
        domains: The present ones.
        notes: What was widened, for a reader.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self.domains = dict(domains)
        self._first = dict(domains)
        self.notes: list[str] = []
        self._moved: dict[tuple[str, bool], int] = {}

    def suggest(self, trial: optuna.Trial) -> dict[str, float]:
        """A setting of a trial's choice; a decay is drawn as its distance from 1, on a logarithmic scale."""
        out: dict[str, float] = {}
        for name, domain in self.domains.items():
            if domain.scale == "choice":
                out[name] = float(trial.suggest_categorical(name, domain.values))
                continue
            low, high = _drawn(domain)
            value = trial.suggest_float(name, low, high, log=domain.scale != "uniform")
            out[name] = _read(domain, value)
        return out

    def told(self, setting: Mapping[str, float], distributions: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A setting as Optuna would have drawn it, and the distributions; it lies in the domains."""
        params: dict[str, Any] = {}
        drawn_from: dict[str, Any] = {}
        for name, domain in self.domains.items():
            if domain.scale == "choice":
                params[name], drawn_from[name] = setting[name], distributions.CategoricalDistribution(domain.values)
                continue
            low, high = _drawn(domain)
            value = 1 - setting[name] if domain.scale == "one_minus_log" else setting[name]
            params[name] = min(max(value, low), high)
            drawn_from[name] = distributions.FloatDistribution(low, high, log=domain.scale != "uniform")
        return params, drawn_from

    def edge(self, name: str, value: float) -> str:
        """``lower`` or ``upper`` where a value lies at that edge of its domain, else the empty string."""
        domain = self.domains[name]
        if domain.scale == "choice" or (domain.scale == "log" and value <= 0):  # such as a decay of 0: no domain has it
            return ""
        low, high = (_unit(domain, x) for x in domain.values)
        at = (_unit(domain, value) - low) / (high - low)
        negligible = name == "weight_decay" or name.startswith("eps")  # the least is as good as none
        return "lower" if at < EDGE and not negligible else "upper" if at > 1 - EDGE else ""

    def widen(self, best: Mapping[str, float]) -> None:
        """Move the bounds at which the best values lie, where there is room beyond."""
        for name, domain in self.domains.items():
            edge = self.edge(name, best[name])
            wider = _wider(name, domain, self._first[name], edge) if edge else domain
            moved = self._moved.get((name, edge == "upper"), 0)
            if wider != domain and moved < OFTEN:
                self._moved[name, edge == "upper"] = moved + 1
                self.domains[name] = wider
                bounds = f"({wider.values[0]:g}, {wider.values[1]:g})"
                self.notes.append(f"the best {name} lay at the {edge} edge of its domain, now {wider.scale}{bounds}")


def _drawn(domain: Domain) -> tuple[float, float]:
    """The bounds of what is drawn."""
    low, high = domain.values
    return (1 - high, 1 - low) if domain.scale == "one_minus_log" else (low, high)


def _read(domain: Domain, drawn: float) -> float:
    """A value with the digits that matter, within its domain."""
    value = round(1 - float(f"{drawn:.4g}"), 12) if domain.scale == "one_minus_log" else float(f"{drawn:.5g}")
    return min(max(value, domain.values[0]), domain.values[1])


def _unit(domain: Domain, value: float) -> float:
    """A value on the scale of its domain."""
    if domain.scale == "log":
        return math.log(value)
    return -math.log(max(1 - value, _NEAREST_ONE)) if domain.scale == "one_minus_log" else value


def _wider(name: str, domain: Domain, first: Domain, edge: str) -> Domain:
    """The domain with one bound moved outward; as it is where nothing lies beyond."""
    (low, high), (least, most) = domain.values, first.values
    if domain.scale == "log":
        factor = (most / least) ** WIDER
        values = (low / factor, high) if edge == "lower" else (low, high * factor)
    elif domain.scale == "one_minus_log":
        factor = ((1 - least) / (1 - most)) ** WIDER
        values = (max(1 - (1 - low) * factor, 0.0), high) if edge == "lower" else (low, 1 - (1 - high) / factor)
        values = values[0], min(values[1], 1 - _NEAREST_ONE)
    else:
        width = (most - least) * WIDER
        fraction = name.startswith("beta") and low >= 0 and high <= 1
        floor, ceiling = (0.0, 1 - _NEAREST_ONE) if fraction else (-math.inf, math.inf)
        values = (max(low - width, floor), high) if edge == "lower" else (low, max(high, min(high + width, ceiling)))
    rounded = tuple(float(f"{v:.8g}") for v in values)
    return Domain(domain.scale, rounded) if not Domain.problem(domain.scale, rounded) else domain
