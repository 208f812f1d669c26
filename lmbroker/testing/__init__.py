"""The practice backend: a small HTTP server that speaks all dialects and needs no model.

It serves the demo, the tests, the benchmarks, and people who embed LMBroker and want to test
without a provider. It is a real server on a loopback port::

    practice = PracticeBackend(reactor)
    practice.start()
    ... requests to practice.url + "/v1/chat/completions", "/v1/messages", "/v1/responses" ...
    practice.received[-1].body, practice.open_streams, practice.disconnects
    await practice.stop()

or ``python -m lmbroker.testing --port 9001``; ``practice.resource()`` is the same in memory, and
``pytest_fixtures`` has a fixture. docs/practice.md shows how to use it. It uses nothing else of
LMBroker: what it sends is written by hand after the official documentation of the formats.

It answers ``POST /v1/chat/completions``, ``/v1/messages``, ``/v1/messages/count_tokens``,
``/v1/responses``, ``/v1/responses/input_tokens``, ``/v1/responses/compact``,
``/v1/embeddings`` and ``GET /v1/models`` (``/{id}``), takes any credentials or none, and gives
the same request the same answer, ids included. In all dialects, unary and streamed, it

- echoes the last user text; streamed, in pieces of three words, one event per write;
- offered tools, calls the first one (the one that ``tool_choice`` names; the first two when the
  text has the word "parallel", unless parallel calls are forbidden) with arguments made from its
  schema: its required properties, with small values; a custom tool with a text; streamed in
  several fragments;
- after a tool result, answers with a text that quotes the result;
- with ``[[call NAME ARGUMENTS]]`` in the user's text, calls that tool with these arguments, which
  are JSON (of a custom tool: a string); of several, one after the other, each when the one before
  has its result; with ``&`` after one, the next one at once; then answers with a text;
- with ``[[search QUERY]]`` in the user's text, searches the web where the provider's search is
  offered: finds one page, and cites it;
- thinks first when reasoning is asked for (``reasoning_effort`` other than "none": as
  ``reasoning_content``; ``thinking`` enabled or adaptive: as a signed thinking block;
  ``reasoning`` with an effort other than "none": as an item, with a summary and with encrypted
  content where these are asked for). What it signed or encrypted must come back unchanged;
- answers with a JSON instance of the schema when structured output is asked for;
- stops at stop sequences, and at the most tokens asked for, which are words;
- counts words as tokens, and half of the prompt as read from a cache when the user's text has
  the word "cached"; OpenAI streams have usage if ``stream_options.include_usage`` asks for it.

Responses are as strict as OpenAI's: fields that are not known, reasoning without what followed it,
outputs without their calls and the like get its refusals (``strict_responses.py``). Answers are
stored unless ``store`` is false, for ``previous_response_id``, ``GET`` and ``DELETE``; a
``compaction_trigger`` is answered by a compaction.

A model whose name has ``cache`` in it has a prompt cache: its usage counts the words of the longest
beginning that an earlier prompt for that model had, and those that are new. As with the vendors,
OpenAI's dialects keep all prompts unless ``prompt_cache_options`` says otherwise, and Anthropic's
what ``cache_control`` marks. ``refuse`` refuses, in the form of the dialect. Other names ask for a
fault; any other name just echoes:

======================= ================================== ==================================
model                   streamed                           unary
======================= ================================== ==================================
``fail-STATUS``         that status (4xx, 5xx) with an error body of the dialect; 429, 503 and
                        529 with ``retry-after: 1``
``overflow``            400: the prompt is too long, in the dialect's words
``hang``                no answer at all, connection open
``html``                200 with a page of ``text/html``
``slow``, ``slow-MS``   100 (MS) ms between two events     100 (MS) ms before the answer
``cut``                 two events, then the connection    half of the body, then the same
                        closes (FIN), body unfinished
``reset``               as ``cut``, by a TCP reset (RST)
``cut-clean``           two events, then a proper end of   half of the JSON, and a length that
                        the body, no last event            says so
``stall``               two events, then silence,          half of the body, then silence
                        connection open
``error-first``         an error event and nothing else    200 with an error body
``error-mid``           two events, then an error event    200 with an error body
``garbage``             the third event is no JSON         half of the JSON
``json-for-stream``     one JSON body                      as ever
``stream-for-json``     as ever                            an event stream
``empty``               an answer without any text         the same
``long-N``              N (up to 7 digits) events of text, N words
                        whatever the limits asked for
======================= ================================== ==================================

Embeddings and token counts play the unary faults, too.
"""

from lmbroker.testing.server import PracticeBackend, Received

__all__ = ["PracticeBackend", "Received"]
