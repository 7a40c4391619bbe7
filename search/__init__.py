"""Which rule next: mutations, populations, economies, the archive, and the driver that ties them to an evaluator."""

from .config import SearchConfig, load_config, make_config, to_toml
from .evaluator import Bench, Evaluator, Laboratory, Score, Trial, score
from .extension import Limits
from .loop import Progress, SearchResult, resume_search, start_search
from .proposing.evolution import Batch, Evolution, Proposal
from .proposing.frame import Framed, FrameError, into_frame, is_framed, tidy
from .proposing.identity import strip
from .proposing.mutate import mutate
from .proposing.mutations import MUTATIONS
from .proposing.program import flatten
from .records.archive import Archive
from .starting import stored_run
from .winner import Winner, winner_rule

__all__ = [
    "MUTATIONS",
    "Archive",
    "Batch",
    "Bench",
    "Evaluator",
    "Evolution",
    "FrameError",
    "Framed",
    "Laboratory",
    "Limits",
    "Progress",
    "Proposal",
    "Score",
    "SearchConfig",
    "SearchResult",
    "Trial",
    "Winner",
    "flatten",
    "into_frame",
    "is_framed",
    "load_config",
    "make_config",
    "mutate",
    "resume_search",
    "score",
    "start_search",
    "stored_run",
    "strip",
    "tidy",
    "to_toml",
    "winner_rule",
]
