"""Namespaces of tools, for dialects that have none."""

from lmbroker.translation.shared.namespaces import introduced
from lmbroker.translation.unified.request import Namespace, Tool


def tool(name: str, namespace: str | None = None, description: str | None = "D") -> Tool:
    held = None if namespace is None else Namespace(name=namespace, description="All of it.")
    return Tool(kind="function", name=name, description=description, namespace=held)


def test_the_first_tool_of_a_namespace_introduces_it() -> None:
    tools = [tool("a"), tool("n__b", "n"), tool("n__c", "n"), tool("m__d", "m", None)]
    assert [each.description for each in introduced(tools)] == [
        "D",
        "All of it.\n\nD",
        "D",
        "All of it.",
    ]
    assert introduced(tools[:1]) == tools[:1]
