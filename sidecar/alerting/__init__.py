"""Alarms on their way to people: what is sent where, once, again after failures, and never too much."""
