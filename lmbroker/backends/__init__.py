"""The backends' side: sends requests to backends and reads their answers.

``sending`` is the entry point. It uses the connections (``connections``, ``proxy_tunnel``,
``resolver``, ``client/``), the bounds of a call (``concurrency_limit``, ``deadlines``,
``whole_bodies``) and the credentials in files (``key_files``).
"""
