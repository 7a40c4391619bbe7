"""Which rule next: mutations, populations, economies, the archive, and the driver that ties them to an evaluator."""

from .archive import Archive
from .config import SearchConfig, load_config, make_config, to_toml
from .evaluator import Evaluator, Score, Trial, score
from .evolution import Batch, Evolution, Proposal
from .frame import Framed, FrameError, into_frame, is_framed, tidy
from .identity import strip
from .loop import Progress, SearchResult, Winner, resume_search, start_search, stored_run, winner_rule
from .mutate import mutate
from .mutations import MUTATIONS
from .program import flatten

__all__ = [
    "MUTATIONS",
    "Archive",
    "Batch",
    "Evaluator",
    "Evolution",
    "FrameError",
    "Framed",
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
