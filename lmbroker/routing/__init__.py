"""Chooses the target of a call, and whether it may go on to another. Pure.

``aliases`` finds the alias of a name, ``failover`` the targets of a call one after the other;
``target_health`` and ``breaker`` know how each target does.
"""
