"""An estimate of how much text a stream has carried whose events were not read."""


def estimated_text(passed: int, last: bytes, envelope: int) -> int:
    """Return the estimated number of bytes of text in ``passed`` bytes of events.

    The events are taken to be like those of ``last``, each of which has ``envelope`` bytes besides
    its text.
    """
    if not last:
        return 0
    texts = max(0, len(last) - last.count(b"data:") * envelope)
    return passed * texts // len(last)
