"""A lean HTTP/1.1 client under treq, in the place of Twisted's ``Agent``, for both engines.

``agent.Exchange`` is the ``IAgent`` of one request, ``connection.Connection`` what it goes over,
``response.Response`` what comes back, ``pool.Pool`` holds the connections that wait. What it does
for speed: llhttp parses, each read of a socket reaches the taker of the body as one piece, a
request is one write, idle connections share one timer.
"""
