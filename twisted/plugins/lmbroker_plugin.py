"""Makes ``twistd lmbroker`` known; imports nothing of LMBroker until it is asked for."""

from twisted.application.service import ServiceMaker

lmbroker = ServiceMaker(
    "LMBroker",
    "lmbroker.tap",
    "A broker between programs and their LLM providers.",
    "lmbroker",
)
