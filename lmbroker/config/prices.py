"""The prices of the configuration file."""

from typing import TypeVar

import msgspec

from lmbroker.config.fields import read_fields
from lmbroker.config.table import Table
from lmbroker.usage import Price, Rates, Tier

R = TypeVar("R", bound=Rates)


def read_price(table: Table) -> Price | None:
    """Return the price below the key ``price`` of ``table``.

    It is None where there is none, or a mistake.
    """
    if not table.has("price"):
        return None
    held = table.table("price")
    read = [_read(each, Tier) for each in held.tables("tiers")] if held.has("tiers") else []
    price = _read(held, Price, "tiers")
    tiers = [tier for tier in read if tier is not None]
    if price is None or len(tiers) < len(read):
        return None
    tiers.sort(key=lambda tier: tier.above)
    return msgspec.structs.replace(price, tiers=tuple(tiers))


def _read(table: Table, struct: type[R], *without: str) -> R | None:
    found = read_fields(table, struct, without)
    fields = msgspec.structs.fields(struct)
    missing = [field.name for field in fields if field.required and not table.has(field.name)]
    for name in missing:
        table.report(name, "found nothing, expected a number")
    required = {field.name for field in fields if field.required}
    return struct(**found) if required <= set(found) else None
