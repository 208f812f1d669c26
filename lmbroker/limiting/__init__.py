"""Limits and budgets: how much callers may take, and where that is counted (docs/limits.md)."""
