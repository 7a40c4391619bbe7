"""The command line: ``evoptim --help``."""

from __future__ import annotations

import sys

from evoptim.dsl import UserError

from .app import app


def main() -> None:
    """Run the command line; a user's mistake is one message with its remedy and exit code 2."""
    try:
        app()
    except UserError as error:
        _complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _complain("stopped\n  remedy: a search goes on from its last batch with evoptim search --resume RUN")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def _complain(text: str) -> None:
    first, *rest = text.split("\n")
    print("\n".join([f"error: {first}", *rest]), file=sys.stderr)


__all__ = ["app", "main"]
