"""Profiles: the abilities of models, by tables of model families and of hosts."""
