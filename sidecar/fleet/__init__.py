"""Panes of many processes, added: what is there, repeated, missing and waited for, and the sum."""
