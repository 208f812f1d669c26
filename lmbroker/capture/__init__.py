"""Captured calls: what is kept of them, without credentials, and running them again offline.

wanted.py     which calls a capture is to keep, and how many
events.py     what is kept of a call: the lines of a captured file
tape.py       what is kept while the call goes on, within bounds
masking.py    the lines of a tape, with the credentials taken out
captured.py   a captured call, read from its lines
replaying.py  the same call through the code of today, and what differs
"""
