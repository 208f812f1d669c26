"""Observers of calls: metrics and the access log, and the way of log lines to their file."""
