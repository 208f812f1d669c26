"""The clients' side: routes, incoming requests and error answers; ``http/`` holds connections."""
