"""The clients' side: routes, requests, error answers, pings; ``http/`` holds the connections."""
