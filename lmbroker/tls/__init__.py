"""TLS for both sides, by the standard library's ``ssl`` under Twisted's TCP transports.

Twisted's own TLS goes through pyOpenSSL, and ends each read with two exceptions: for a record of
the size of a streamed event that costs several times what the standard library needs.
"""
