"""Recognises a context overflow by its words, and reads the numbers in them (translation.md 5.2).

Coding agents react to this error: they compact the conversation, or lower ``max_tokens``. OpenAI
has a code for it, Anthropic has only the wording, and others have wordings of their own. So the
broker goes by the words, and reads the numbers to repeat the error in the form of the client's
dialect.
"""

import re
from collections.abc import Iterable

import msgspec

_WORDS = re.compile(
    r"max(?:imum)? context length|maximum (?:prompt|model) length|maximum allowed (?:input )?length"
    r"|context window|(?:available|configured) context size|context size has been exceeded"
    r"|exceeds? (?:the )?context (?:limit|length|size)"
    r"|(?:prompt|input|session|context|messages?|\btokens?)[\w ()'`,:]{0,60}?(?:exceed(?:s|ed)?"
    r"|(?:is|are) (?:longer|greater|larger|more) than|too long|too large|\bover|(?:cannot|must not)"
    r" exceed|(?:must|should) be (?:less|fewer) than)[\w ()'`]{0,30}?(?:\bcontext"
    r"|max(?:imum)?[_ ](?:seq|model|session|context|prompt|input)|session[_ ]len"
    r"|total tokens? limit)"
    r"|length of (?:the )?(?:messages|prompt|input) should be less than"
    r"|(?:longer|greater) than the (?:model's )?context length|context length (?:of|is) only"
    r"|too many tokens(?!: max tokens must)|maximum number of tokens allowed|model token limit"
    r"|prompt token count of|range of input length|configured limit of [0-9,]+ tokens"
    r"|(?:prompt|input) (?:is )?too long|`?inputs`? tokens \+ `?max_new_tokens`? must be <="
    r"|reduce the length of the (?:messages|prompt|input)"
    r"|(?:prompt|input|messages|conversation|token count|total tokens)(?: length)? exceeds? "
    r"(?:the )?(?:max|model|context|limit|allowed)"
    r"|(?:input|prompt|request) is too (?:long|large) for (?:the |this )?(?:requested )?model"
    r"|too large for [\w.:/-]{1,80} model\. max size: [0-9]+ tokens"
    r"|exceed(?:s|ed)? (?:the )?max(?:imum)? message tokens"
    r"|`?inputs`? must have less than [0-9]+ tokens|more tokens than (?:the )?(?:model|context)"
    r"|token limit exceeded|tokens? exceed(?:s|ed)? (?:the )?model(?:'s)? limit"
    r"|too many prompt tokens",
    re.IGNORECASE,
)

LOOKED_AT = 4096
"""The characters of a message in which numbers are searched for. No longer message is passed on."""

_N = "[0-9][0-9,]{0,14}"
_PROMPT = f"(?P<prompt>{_N})"
_OUTPUT = f"(?P<output>{_N})"
_LIMIT = f"(?P<limit>{_N})"
_GAP = ".{0,200}?"


def _patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(text, re.IGNORECASE | re.DOTALL) for text in texts)


_SHARES = re.compile(
    rf"maximum context length is {_LIMIT}{_GAP}requested(?: about)? {_N} tokens"
    r" \((?P<shares>[^)]{0,300}(?:completion|output))\)",
    re.IGNORECASE | re.DOTALL,
)
"""The wording of OpenAI and of those that copy it, with the output as the last part of the request:
``(3000 in the messages, 100 in the functions, and 1000 in the completion)``."""

_SUM_OVER = _patterns(
    # Anthropic
    rf"{_PROMPT} \+ {_OUTPUT} > {_LIMIT}",
    # vLLM, oldest first
    rf"too large: {_OUTPUT}{_GAP}maximum context length is {_LIMIT}{_GAP}has {_PROMPT} input",
    rf"passed {_PROMPT} input tokens and requested {_OUTPUT} output tokens"
    rf"{_GAP}context length is only {_LIMIT}",
    rf"maximum context length is {_LIMIT}{_GAP}requested {_OUTPUT} output tokens and your prompt"
    rf" contains (?:at least )?{_PROMPT} (?:input )?tokens",
    # Mistral
    rf"prompt contains {_PROMPT} tokens and {_OUTPUT} max_tokens{_GAP}with {_LIMIT} maximum",
    # SGLang
    rf"maximum context length of {_LIMIT}{_GAP}{_PROMPT} tokens from the input messages"
    rf" and {_OUTPUT} tokens for the completion",
    # text-generation-inference, Together
    rf"must be <= {_LIMIT}{_GAP}given:? {_PROMPT} {_GAP}and {_OUTPUT} ",
)

_PROMPT_OVER = _patterns(
    # Anthropic
    rf"{_PROMPT} tokens > {_LIMIT} maximum",
    # OpenAI, vLLM, xAI
    rf"maximum (?:context|prompt) length is {_LIMIT}"
    rf"{_GAP}(?:resulted in|contains(?: at least)?|has(?: at least)?|requested(?: about)?)"
    rf" {_PROMPT} (?:input )?tokens",
    rf"limit of {_LIMIT} tokens{_GAP}resulted in {_PROMPT} tokens",
    # Gemini
    rf"input token count[ (]*{_PROMPT}[) ]*exceeds the maximum number of tokens"
    rf" allowed[ (]*{_LIMIT}",
    # llama.cpp
    rf"request \({_PROMPT} tokens\) exceeds the available context size \({_LIMIT}",
    # Mistral
    rf"contains {_PROMPT} tokens{_GAP}{_LIMIT} maximum context length",
    # vLLM, SGLang, Together, OpenRouter
    rf"(?:input|prompt)(?: length)? \(?(?:length )?{_PROMPT}(?: tokens)?\)?"
    rf" (?:is longer than|exceeds) [^()0-9]*\(?{_LIMIT}",
    rf"prompt (?:length )?of {_PROMPT} tokens exceeds [^0-9]*{_LIMIT}",
    # LM Studio
    rf"keep the first {_PROMPT} tokens{_GAP}context length of only {_LIMIT}",
    # GitHub Copilot, DwarfStar
    rf"prompt token count of {_PROMPT} exceeds the limit of {_LIMIT}",
    rf"prompt has {_PROMPT} tokens{_GAP}context size is {_LIMIT}",
    # llama-cpp-python, text-generation-inference, SambaNova
    rf"requested tokens \({_PROMPT}\) exceed context window of {_LIMIT}",
    rf"must have less than {_LIMIT} tokens{_GAP}given:? {_PROMPT}",
    rf"maximum context length of [^ ]{{1,80}} is {_LIMIT} tokens{_GAP}will take {_PROMPT} tokens",
    # Moonshot, Cerebras, Cohere, Fireworks
    rf"model token limit: {_LIMIT} \(requested: {_PROMPT}",
    rf"current length is {_PROMPT} while limit is {_LIMIT}",
    rf"cannot exceed {_LIMIT} - received {_PROMPT}",
    rf"prompt is too long: {_PROMPT}, model maximum context length: {_LIMIT}",
)


class Overflow(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a context overflow, in tokens.

    ``output`` is None where the prompt alone is too long. Otherwise the prompt and the requested
    output are too long together.
    """

    prompt: int
    limit: int
    output: int | None = None


def is_overflow(message: str) -> bool:
    """Return whether a message says that a request does not fit into the model's context."""
    return _WORDS.search(message) is not None


def numbers(message: str) -> Overflow | None:
    """Return the numbers in a message, None where no pattern finds them.

    Only the first ``LOOKED_AT`` characters are searched: the patterns have gaps, and each length of
    a gap is tried.
    """
    message = message[:LOOKED_AT]
    found = _SHARES.search(message)
    if found is not None:
        *prompt, output = _counts(re.findall(_N, found["shares"]))
        return _over(sum(prompt), output, *_counts([found["limit"]]))
    found = _first(_SUM_OVER, message)
    if found is not None:
        return _over(*_counts(found.group("prompt", "output", "limit")))
    found = _first(_PROMPT_OVER, message)
    if found is not None:
        prompt_tokens, limit = _counts(found.group("prompt", "limit"))
        return Overflow(prompt=prompt_tokens, limit=limit)
    return _two(message) if is_overflow(message) else None


_COUNT = re.compile(
    r"(?<![\w.,-])[0-9](?:[0-9]{2,7}|[0-9]{0,2}(?:,[0-9]{3}){1,2})(?![\w.-]|,[0-9])"
)


def _two(message: str) -> Overflow | None:
    """Return the overflow in a message with exactly two numbers, the larger being the prompt."""
    counts = sorted(set(_counts(_COUNT.findall(message))))
    if len(counts) != 2 or counts[0] < _LEAST_WINDOW:
        return None
    return Overflow(prompt=counts[1], limit=counts[0])


_LEAST_WINDOW = 512
"""The minimum of tokens in a context window; no model has a smaller one."""


def counts_separately(message: str) -> bool:
    """Return whether a message gives the prompt and the requested output separately.

    If not, the number of the prompt may be the sum of both.
    """
    message = message[:LOOKED_AT]
    return _SHARES.search(message) is not None or _first(_SUM_OVER, message) is not None


def _over(prompt: int, output: int, limit: int) -> Overflow:
    """Return the overflow with these numbers.

    It has no output where the prompt alone is too long, since a smaller output would not help then.
    """
    return Overflow(prompt=prompt, limit=limit, output=None if prompt > limit else output)


def _first(patterns: Iterable[re.Pattern[str]], message: str) -> re.Match[str] | None:
    return next(filter(None, (pattern.search(message) for pattern in patterns)), None)


def _counts(texts: Iterable[str]) -> list[int]:
    return [int(text.replace(",", "")) for text in texts]
