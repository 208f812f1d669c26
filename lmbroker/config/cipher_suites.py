"""The TLS cipher suites for clients and for backends."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, as OpenSSL writes a list: only those with forward secrecy (ECDHE) and authenticated
encryption (AEAD). All suites of TLS 1.3 are of that kind. RFC 9325, 4.2."""
