"""LMBroker: a broker between programs and their LLM providers, on Twisted."""

__version__ = "0.1.0"
