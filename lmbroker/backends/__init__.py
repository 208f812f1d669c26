"""The backends' side: what sends a request to a backend and reads its answer.

``sending`` is the way in. It stands on the connections (``connections``, ``proxy_tunnel``,
``resolver``, ``client/``), on what bounds a call (``concurrency_limit``, ``deadlines``,
``whole_bodies``) and on keys that change (``key_files``).
"""
