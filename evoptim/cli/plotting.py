# pyright: reportUnknownMemberType=false
# matplotlib annotates in part.
"""The plot of performance profiles. Imports matplotlib when called."""

from __future__ import annotations

from pathlib import Path

from ..studies.comparison_fair import TAUS, FairComparison


def plot_profiles(path: Path, result: FairComparison) -> None:
    """The performance profiles as steps; the factors stand evenly spaced, for most of what matters is near 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, s in enumerate(result.summaries):
        style = ("-", "--", "-.", ":")[i % 4]  # told apart without colours too
        axes.step(
            range(len(TAUS)), s.profile, where="post", label=s.rule.name, linestyle=style, marker="o", markersize=3
        )
    axes.set(ylim=(-0.03, 1.03), xlabel="loss, at most so many times the best rule's", ylabel="share of the tasks")
    axes.set_xticks(range(len(TAUS)), [f"{tau:g}" for tau in TAUS])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
