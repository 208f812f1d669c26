"""A lean HTTP/1.1 client under treq, which replaces Twisted's ``Agent``.

``agent.Exchange`` is the ``IAgent`` of one request, ``connection.Connection`` carries the request,
``response.Response`` is its response, ``pool.Pool`` holds the idle connections. It is fast because
llhttp parses, each read of a socket reaches the receiver of the body as one piece, a request is one
write, and idle connections share one timer.
"""
