"""``progress.jsonl``: a line of JSON per batch, for programs that watch a run or plot it.

Every number follows from what the archive holds, so a resumed run writes the file as an uninterrupted one would have.
"""

from __future__ import annotations

import json
import math

from ..proposing.evolution import Evolution


def line(evolution: Evolution, seconds: float, at: str) -> str:
    """The line of the batch that was told last.

    Args:
        evolution: The proposer, told of that batch.
        seconds: Time spent proposing and training so far.
        at: When the batch ended.
    """
    counts, loss = evolution.counts, evolution.best_score.loss
    return (
        json.dumps(
            {
                "batch": counts.batches - 1,
                "at": at,
                "seconds": round(seconds, 3),
                "generated": counts.generated,
                "evaluated": counts.evaluated,
                "cache_hits": counts.cache_hits,
                "fingerprint_hits": counts.fingerprint_hits,
                "vetoed": counts.vetoed,
                "stopped": counts.stopped,
                "diverged": counts.diverged,
                "failed": counts.failed,
                "invalid": counts.invalid,
                "restarts": counts.restarts,
                "best_program": None if evolution.best is None else evolution.best.index,
                "best_loss": loss if math.isfinite(loss) else None,
            }
        )
        + "\n"
    )
