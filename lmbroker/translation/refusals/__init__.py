"""Reads what backends say when they refuse a request or fail."""
