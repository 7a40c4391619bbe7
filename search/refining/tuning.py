"""Tuning the hyperparameters of a rule: a population of settings at a time, chosen by Optuna's TPE.

Every rule gets the same number of trials. A trial is one setting, trained on all tuning seeds; the first one is the
rule's own defaults. Where the best value lies at the edge of its domain, the domain is widened, and that is told.

An entry of kind ``tuning`` in the archive's journal is one of two documents:

- ``{"event": "trial", "source", "program", "task", "number", "setting", "seeds", "losses", "loss", "best"}``, where a
  failed training has no loss (null), and ``best`` is the lowest loss so far
- ``{"event": "ended", "source", "program", "task", "trials", "setting", "loss", "default_loss", "at_edge", "notes",
  "importance", "rule"}``
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from evoptim.dsl import Domain, Hyper, Rule, UserError, live_names

from ..evaluator import Evaluator, Trial
from .tuning_space import Space

if TYPE_CHECKING:
    import optuna

FEWEST = 16
"""Trials that trained without which nothing is said about importance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """A budget.

    Attributes:
        trials: Settings tried, the defaults among them.
        batch: Settings trained together; a larger batch learns less from each.
        seeds: Seeds that each setting is trained on.
        seed: Seed of the choices.
    """

    trials: int = 32
    batch: int = 8
    seeds: tuple[int, ...] = (1000, 1001, 1002)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 2 or self.batch < 1 or not self.seeds or self.seed < 0:
            raise UserError(
                f"trials={self.trials}, batch={self.batch}, {len(self.seeds)} seeds, seed={self.seed}",
                "give 2 trials or more, a batch of 1 or more, and a seed",
            )


@dataclass(frozen=True, slots=True)
class TunedTrial:
    """A setting and its losses on the tuning seeds, infinite where a training failed."""

    number: int
    setting: Mapping[str, float]
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean over the seeds."""
        return sum(self.losses) / len(self.losses)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning found.

    Attributes:
        rule: The rule with the best setting for its defaults.
        trials: All trials in order; the first one is of the rule's own defaults.
        best: The one of the lowest loss.
        domains: Where each hyperparameter was looked for in the end.
        notes: What was widened.
        at_edge: Hyperparameters whose best value still lies at the edge of its domain.
        importance: The share of each in what makes a setting good (PED-ANOVA); empty where too little is known.
    """

    rule: Rule
    trials: tuple[TunedTrial, ...]
    best: TunedTrial
    domains: Mapping[str, Domain]
    notes: tuple[str, ...]
    at_edge: tuple[str, ...]
    importance: Mapping[str, float]


Record = Callable[[Sequence[TunedTrial], Sequence[Trial]], None]
"""Told after each batch its trials and their trainings."""


def _silent(trials: Sequence[TunedTrial], trainings: Sequence[Trial]) -> None:
    """Tell nobody."""


def tune(rule: Rule, evaluator: Evaluator, config: TuningConfig, record: Record = _silent) -> Tuning:
    """Tune all hyperparameters that matter, in their domains.

    Args:
        rule: A valid rule with an lr above 0.
        evaluator: What trains it.
        config: The budget, the same for all rules that are compared.
        record: Told after each batch.

    Raises:
        UserError: Optuna is missing, the rule has nothing to tune, or it fails with every setting.
    """
    live = live_names(rule)
    hypers = [h for h in rule.hypers if h.name in live]
    if not rule.defaults.get("lr", 0.0) > 0:
        raise UserError(f"rule {rule.name!r} has no lr above 0 to tune", "give it a default such as lr=1e-3")
    with _quiet(_optuna()) as optuna:
        work = _Work(rule, hypers, evaluator, config, optuna, record)
        work.run()
        return work.result()


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise UserError("tuning needs the package optuna", "pip install 'evoptim[tune]'") from error
    return optuna


@contextmanager
def _quiet(optuna: ModuleType) -> Generator[Any]:
    """Optuna without its log of every trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(before)


class _Work:
    """A tuning under way."""

    def __init__(
        self,
        rule: Rule,
        hypers: Sequence[Hyper],
        evaluator: Evaluator,
        config: TuningConfig,
        optuna: Any,
        record: Record,
    ) -> None:
        self.rule, self.evaluator, self.config, self.optuna, self.record = rule, evaluator, config, optuna, record
        self.space = Space({h.name: h.domain for h in hypers})
        self.defaults = {h.name: h.default for h in hypers}
        sampler = optuna.samplers.TPESampler(seed=config.seed, constant_liar=True)
        self.study: optuna.Study = optuna.create_study(sampler=sampler)
        self.trials: list[TunedTrial] = []

    @property
    def best(self) -> TunedTrial:
        return min(self.trials, key=lambda t: (t.loss, t.number))

    def run(self) -> None:
        """Spend the budget."""
        self._train([self.defaults])
        self._learn_defaults()
        while (room := self.config.trials - len(self.trials)) > 0:
            asked = [self.study.ask() for _ in range(min(room, self.config.batch))]
            trained = self._train([self.space.suggest(t) for t in asked])
            for trial, result in zip(asked, trained, strict=True):
                self.study.tell(trial, result.loss)
            if len(self.trials) < self.config.trials and math.isfinite(self.best.loss):
                self.space.widen(self.best.setting)

    def _train(self, settings: Sequence[Mapping[str, float]]) -> list[TunedTrial]:
        [trainings] = self.evaluator.evaluate([self.rule], settings, self.config.seeds)
        count = len(self.config.seeds)
        new: list[TunedTrial] = []
        for i, setting in enumerate(settings):
            losses = [t.loss if t.status == "ok" else math.inf for t in trainings[i * count : (i + 1) * count]]
            new.append(TunedTrial(len(self.trials) + i, dict(setting), tuple(losses)))
        self.trials += new
        self.record(new, trainings)
        return new

    def _learn_defaults(self) -> None:
        """Tell TPE how the defaults did, where they lie in the domains."""
        if all(value in self.space.domains[name] for name, value in self.defaults.items()):
            params, distributions = self.space.told(self.defaults, self.optuna.distributions)
            trial = self.optuna.trial.create_trial(
                params=params, distributions=distributions, value=self.trials[0].loss
            )
            self.study.add_trial(trial)

    def result(self) -> Tuning:
        """What was found."""
        best = self.best
        if math.isinf(best.loss):
            raise UserError(
                f"rule {self.rule.name!r} fails with every setting tried", "give other domains, or a better default lr"
            )
        hypers = tuple(_with_default(h, best.setting.get(h.name, h.default)) for h in self.rule.hypers)
        return Tuning(
            self.rule.replace(hypers=hypers),
            tuple(self.trials),
            best,
            dict(self.space.domains),
            tuple(self.space.notes),
            tuple(n for n in self.space.domains if self.space.edge(n, best.setting[n])),
            self._importance(),
        )

    def _importance(self) -> dict[str, float]:
        if sum(math.isfinite(t.loss) for t in self.trials) < FEWEST:
            return {}
        evaluator = self.optuna.importance.PedAnovaImportanceEvaluator()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is inaccurate where a domain was widened: it is a hint anyway
            found: dict[str, float] = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        return {name: float(found.get(name, 0.0)) for name in self.space.domains}


def _with_default(hyper: Hyper, value: float) -> Hyper:
    """The hyperparameter with another default; its declared domain goes where the default lies outside it."""
    keep = hyper.declared is not None and value in hyper.declared
    return Hyper(hyper.name, value, hyper.declared if keep else None)
