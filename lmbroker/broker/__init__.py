"""One call's way: which attempts are made for it, and how its answer comes back.

``broker`` makes the attempts, ``answers`` is what it returns, ``relay`` moves a streamed answer to
the client. ``model_listing`` and ``health_checks`` ask backends of their own accord.
"""
