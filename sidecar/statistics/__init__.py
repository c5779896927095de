"""Observation → counts against a frozen baseline: exact integers that add across time and pods."""
