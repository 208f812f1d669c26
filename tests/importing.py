"""What the tests of ``lmbroker import`` have in common."""

import re

from lmbroker.config.config import parse


def loaded(draft):
    """The configuration of a draft, with a key for each variable that it names."""
    text = draft.text()
    environ = dict.fromkeys(re.findall(r"env:(\w+)", text), "sk-key")
    return parse(text, name="imported", environ=environ, read_file=lambda path: "key")


def routes(config):
    """Each alias and its targets: (type, URL, model at the backend, where the key comes from)."""
    return {
        name: [
            (
                target.backend.dialect,
                target.backend.url,
                target.model,
                target.backend.credential_ref,
            )
            for target in route.targets
        ]
        for name, route in config.aliases.items()
    }
