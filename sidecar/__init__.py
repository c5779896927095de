"""Sidecar: the flight recorder for machine-learning models."""

__version__ = "0.1.0"
