"""Namespaces of tools, for dialects without them: the names of tools include theirs already."""

from collections.abc import Sequence

import msgspec

from lmbroker.translation.unified.request import Tool


def introduced(tools: Sequence[Tool]) -> list[Tool]:
    """Return ``tools`` with the description of each namespace before that of its first tool."""
    if all(tool.namespace is None for tool in tools):
        return list(tools)
    seen = set()
    out = []
    for tool in tools:
        namespace = tool.namespace
        if namespace is not None and namespace.name not in seen:
            seen.add(namespace.name)
            texts = [said for said in (namespace.description, tool.description) if said]
            tool = msgspec.structs.replace(tool, description="\n\n".join(texts) or None)
        out.append(tool)
    return out
