"""How much text a stream has carried that nobody has read."""


def estimated_text(passed: int, last: bytes, envelope: int) -> int:
    """Return about how many bytes of text there are in ``passed`` bytes of events like those of
    ``last``, each of which has ``envelope`` bytes besides its text."""
    if not last:
        return 0
    texts = max(0, len(last) - last.count(b"data:") * envelope)
    return passed * texts // len(last)
