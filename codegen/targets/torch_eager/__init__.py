"""Eager torch: readable, runs on every device."""
