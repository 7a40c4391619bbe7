"""Workers that train programs for a search, and may die, hang, vanish or talk nonsense at any time."""

from .leases import Chunk, Chunks
from .messages import Garbage, Job
from .poison import PoisonList
from .processes import Processes
from .rays import RayActors
from .server import Answering, serve
from .workforce import Crew, Gone, Said, WorkerEvaluator, Workforce

__all__ = [
    "Answering",
    "Chunk",
    "Chunks",
    "Crew",
    "Garbage",
    "Gone",
    "Job",
    "PoisonList",
    "Processes",
    "RayActors",
    "Said",
    "WorkerEvaluator",
    "Workforce",
    "serve",
]
