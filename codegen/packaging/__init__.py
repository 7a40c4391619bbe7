"""A rule as an installable Python package: the optimizer, tests that need torch and pytest alone, a model card."""

from .package import export_package

__all__ = ["export_package"]
