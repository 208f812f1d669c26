"""The words with which backends refuse a request, as data (translation.md 0.4).

``REFUSING`` and the patterns beside it recognise a refusal, whatever it is about.
``about_the_request`` finds out by the words of a status 500 whether the request is at fault and not
the server. Sentences that name no field are in ``sentences``. A new wording is one line here and
one in the tests.
"""

import re


def any_of(*patterns: str) -> re.Pattern[str]:
    """Return a pattern that matches where one of ``patterns`` does, in either case of letters."""
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


# How a refusal is worded.

_NOT = r"(?:not|n't|no longer|never)"
_TAKEN = (
    r"(?:be |yet |currently |officially |been )*(?:supported|permitted|allowed|accepted"
    r"|recogni[sz]ed|available|implemented|enabled|expected|known|understood|applicable|handled"
    r"|used|set|specified|provided|passed|configured|combined)"
)
_TAKES = (
    r"(?:yet |currently |officially )*(?:support|accept|allow|permit|recogni[sz]e|implement"
    r"|handle|understand|take|know|have)\b"
)

REFUSING = any_of(
    rf"\b(?:is|are|was|were|be|may|must|should|can|could|do|does|did|has|have|will)?\s*{_NOT}\s+"
    rf"{_TAKEN}",
    rf"\b(?:does|do|did|can|could|may|must|will|should)\s*{_NOT}\s+{_TAKES}",
    rf"\bcannot\s+(?:{_TAKEN}|{_TAKES})",
    r"\bunsupported\b|\bun-?recogni[sz]ed\b|\bunexpected\b|\bunknown\b|\bundefined\b",
    r"\bextra (?:inputs?|fields?|keys?|parameters?|arguments?|properties)\b|\bextra_forbidden\b",
    r"\badditional (?:properties|fields|parameters|keys)\b",
    r"\b(?:is|are) (?:deprecated|unavailable|forbidden|disallowed|disabled|prohibited|reserved"
    r"|incompatible|ignored|unimplemented|invalid|illegal)\b",
    r"\bcannot find field\b|\bno such (?:field|parameter|argument|property)\b",
    r"\bincompatible with\b|\bconflicts? with\b|\bmutually exclusive\b|\bcannot specify both\b",
    r"\binvalid (?:parameter|argument|field|property|option|key|request parameter)s?\b",
    r"\bdid not match any variant\b|\bstring too long\b|不支持|不允许|无法识别",
    r"\bdoes not exist on\b|\b(?:must|should|may) not (?:contain|include|have)\b",
    r"\bmay only be set\b|\bdeprecated for\b|非法|不合法|不受支持|无效",
    r"\bnot (?:an? )?(?:supported|valid|allowed|recogni[sz]ed|known|permitted|accepted)"
    r" (?:request )?(?:parameter|argument|field|property|option|key|keyword)",
    r"\bno (?:endpoints?|providers?|models?)\b[\w ]{0,20} support",
    r"\bonly (?:be )?(?:supported|available|allowed) (?:with|for|by|in|on|when)\b",
)
"""Words that say that the backend does not accept something."""

MALFORMED = any_of(
    r"\bfield required\b|\bis required\b|\bare required\b|\bmissing\b|\bmust (?:not )?be empty\b",
    r"\bcannot be (?:empty|null|blank)\b|\bmust be (?:provided|present|supplied)\b",
    r"\bvalid (?:string|integer|number|list|dictionary|array|boolean|object|tuple)\b",
    r"\b(?:must|should|expected to) be (?:a |an )?(?:of type )?(?:string|integer|number|list|array"
    r"|boolean|object|dictionary|null)\b",
    r"\btype must be (?:a |an )?(?:string|number|integer|boolean|array|object)",
    r"\bbut (?:is|got) (?:a |an )?(?:string|integer|number|null|boolean)\b",
    r"\bvalid json\b|\bjson decode\b|\bparse error\b|\bjson_invalid\b",
)
"""Words that say that something is missing or has a wrong type, which no repair can mend."""

ADVICE = any_of(
    r"\bdid you mean\b",
    r"\b(?:please )?(?:use|try|remove|omit|disable|enable|refer|consult|see|visit|upgrade|switch)\b"
    r"(?! of\b)",
    r"\bto (?:learn|find out|drop|use)\b|\bfor more\b|\binstead\b",
    r"\b(?:supported|allowed|valid|accepted|available|permitted|possible)"
    r" (?:values|parameters|levels|options|types|fields|arguments|efforts?)\b",
    r"\bexpected (?:one of|any of|['\"`])",
    r"\bone of\b",
)
"""The words after which a message says what would be right. The names that follow are not those of
what was refused."""

VALUES = any_of(
    r"\b(?:must|should|has to|needs to|can only|may only)(?: either)? be"
    r" (?:one of|either|any of|in|set to)?",
    r"\b(?:supported|allowed|valid|accepted|available|permitted|possible|legal)\s*:",
    r"仅支持|只支持|只能[为是]",
    r"\b(?:supported|allowed|valid|accepted|available|permitted|possible|legal)"
    r" (?:values?|levels?|options?|types?|efforts?)(?: for [\w.'\"` -]{1,60}?)?"
    r"(?: (?:are|is|include))?",
    r"\bexpected(?: one of| any of| a value in)?",
    r"\binput should be\b|\bchoose (?:from|one of)\b",
    r"\bone of\b|\bonly\b",
)
"""The words after which a list of the accepted values begins."""

# The largest value that a backend accepts; the group ``n`` is the number.
_N = r"[`'\"*]{0,2}(?P<n>\d[\d,_]{0,14})(?![\d.]*\d*%)"
LIMITS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:less|lower|smaller|fewer) than or equal to {_N}",
        rf"(?:<=|≤|=<)\s*{_N}",
        rf"\bat most {_N}",
        rf"\bup to {_N}",
        rf"[\[(]\s*-?[\d.]+\s*,\s*{_N}\s*[\])]",
        rf"\bbetween -?[\d.]+ (?:and|to) {_N}",
        rf"\bfrom -?[\d.]+ to {_N}",
        rf"\b(?:with)?in (?:the )?range (?:of )?-?[\d.]+\s*(?:-|\.\.|to|and|,|–)\s*{_N}",
        rf"\b(?:can(?:not|'t| not)|must not|may not|should not) (?:exceed|be (?:greater|larger|more"
        rf"|higher|bigger) than|be above|be over)\s+(?:[\w' ]{{0,60}}?[=:(]\s*)?{_N}",
        rf"\d\s*>\s*{_N}",
        rf"\bmax_tokens\W{{1,3}}>\s*{_N} must\b",
        rf"\bfrom \d+ \(inclusive\) to {_N}",
        rf"\bmax(?:imum)?(?: (?:allowed|supported|permitted|output|completion|number of|value|limit"
        rf"|tokens?|length|size|is|of|for [\w.'`-]+))*\s*[:=(]?\s*{_N}",
        rf"\b(?:exceed(?:s|ed|ing)?|above|over|greater than|larger than|more than|higher than)"
        rf" (?:the |its |this |our |an? )?(?:[\w'-]+ ){{0,6}}?\(?(?:of |is |=|: ?)?{_N}",
        rf"\blimit(?:ed)? (?:of|is|to|at|:)\s*{_N}",
        rf"\b(?:less than|below) {_N}",
        rf"{_N} or (?:less|fewer|lower|below)",
        rf"超过(?:最大值|上限|限制)?\s*{_N}",
        rf"\bsupports? (?:only |a maximum of |a max of |at most )?{_N}",
        rf"\bmax_(?:model_len|tokens|output_tokens|completion_tokens|new_tokens)\s*[=:]\s*{_N}",
    )
)

WINDOW = any_of(
    r"max_model_len|max_total_tokens|max_seq_len|session_len|\bn_ctx\b"
    r"|\bcontext[_ ](?:window|length|size)\b"
)
"""The names of a limit that the prompt and the answer share."""

LIMIT_NAMES = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "max_new_tokens",
        "max_output_tokens",
        "max_tokens_to_sample",
        "n_predict",
        "num_predict",
    }
)
"""The names that backends use for the limit of an answer's length, whatever the request's is."""

LIMIT_WORDS = any_of(
    r"max[_ ]?(?:completion|new|output)?[_ ]?tokens\b|maxtokens|maxoutputtokens"
    r"|\b(?:output|completion|response|generated) tokens?\b|\bmaximum tokens\b|\bn_predict\b"
)

CONFLICT = any_of(
    r"\b(?:both|together|simultaneously|at the same time|in combination|mutually exclusive)\b",
    r"\bincompatible with\b|\bconflicts? with\b",
    r"\b(?:cannot|can not|can't|must not|may not|not) (?:be )?(?:combined|used|set|specified)"
    r"[\w ]{0,20} (?:with|when|while|alongside)\b",
    r"\bcannot be (?:disabled|enabled) when\b",
)
"""Words that say that two things may not be used together."""

# Schemas.

SCHEMA_WORDS = any_of(
    r"schema|function_declarations|input_schema|function\.parameters|tools\[\d+\]|tools\.\d+"
    r"|\bfunction '[^']*'|\bfunction (?:parameters|format)|\bregex\b|\bregular expression"
    r"|\bgrammar\b|\btool (?:parameters|input)"
)
"""Words that show that a refusal is about a schema."""

SCHEMA_REFUSED = any_of(
    r"invalid|not (?:supported|allowed|permitted|a)\b|unsupported|unrecogni[sz]ed|unknown"
    r"|unexpected|cannot find field|is not|does not|failed|must not|not one of|error"
    r"|unresolvable|only |非法|不支持|unimplemented"
)

REGEX_WORDS = any_of(r"\bregex|\bregular expression|\blook-?(?:around|ahead|behind)|\bpattern\b")

SCHEMA_KEYWORDS = frozenset(
    """
    $anchor $comment $dynamicRef $id $ref $schema additionalProperties allOf const contains
    contentEncoding contentMediaType default dependencies dependentRequired dependentSchemas
    deprecated else example examples exclusiveMaximum exclusiveMinimum format if maxContains
    maxItems maxLength maxProperties maximum minContains minItems minLength minProperties
    minimum multipleOf not nullable oneOf pattern patternProperties prefixItems propertyNames
    readOnly then title unevaluatedItems unevaluatedProperties uniqueItems writeOnly
    """.split()  # noqa: SIM905
)
"""Keywords of JSON Schema that can be left out: a tool's schema still describes its arguments."""

# What is never to be repaired.

NEVER_KINDS = frozenset(
    {"auth", "billing", "permission", "rate_limit", "overloaded", "timeout", "conflict"}
)

NEVER_CODES = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "data_inspection_failed",
        "datainspectionfailed",
        "invalid_prompt",
        "model_not_found",
        "moderation",
        "responsibleaipolicyviolation",
        "safety",
        "sensitive",
        "tool_use_failed",
        "1301",
    }
)

NEVER_WORDS = any_of(
    r"content (?:management|policy|filter)|\bmoderation\b|inappropriate content|\bsafety (?:system"
    r"|filter|policy)|usage polic|risk control|\bflagged\b",
    r"\byour (?:account|organi[sz]ation|plan|team|project)\b",
    r"\bquota\b|\bbilling\b|\bcredits?\b|rate limit|\btoo many requests\b|\bsubscription\b",
    r"\bapi[ _-]?key\b|\bunauthori[sz]ed\b|\bauthenticat|permission denied|access denied",
    r"model [^.\n]{0,80}(?:does not exist|not found|is not supported\. supported models)",
    r"\bno such model\b|invalid model name",
    r"\bunsupported image\b[^\n]{0,80}\bformats?\b",
)
"""Words of refusals that are about the account, the model's name or the contents of messages."""

# A status 500 that is about the request.

_REQUEST = any_of(
    r"\bjinja\b|chat template|template error|templateerror|raise_exception",
    r"roles must alternate|system message must|unexpected role|unexpected message role",
    r"failed to parse (?:the )?(?:tool|message|grammar|input|request|json|content|arguments)",
    r"json\.exception|json decode error|invalid json",
    r"(?:image|audio|video|file|document)s?(?: input)? (?:is|are) not supported",
    r"\bnot a multimodal model|mmproj",
    r"param(?:eter)?s? requires|unsupported (?:param|tool|content|role|message|parameter)",
    r"cannot use tools with stream",
    r"unexpected keyword argument|content types? (?:is|are) (?:not )?supported",
    r"json schema conversion failed|parsing grammar|initiali[sz]e samplers",
    r"^\W*(?:bad request|invalid (?:request|argument|parameter|params))\b",
    r"'[\w.]+' is required|`[\w.]+` is required",
    r"validation errors? for|input validation error|\bextra inputs are not permitted",
    r"does not support (?:thinking|tools|images?|vision|reasoning|chat|parameter)",
    r"(?:unsupported|invalid|unknown|unrecogni[sz]ed) (?:value|parameter|argument|field|property"
    r"|response_format|tool_choice|reasoning[ _]effort|role|schema)\b",
    r"invalid (?:message|tool|function|schema|content|image)\b|json schema error",
    r"reasoning[_ ]effort",
)


def about_the_request(message: str) -> bool:
    """Return whether the words of a status 500 say that the request is at fault.

    The same request would fail again, and the server is healthy.
    """
    return _REQUEST.search(message) is not None


# Refusals of a whole operation.

_OPERATION = any_of(
    r"(?:\bnot|n't|cannot|n['’]t) support (?:the |this |that |any )?(?:operation|endpoint|route"
    r"|embeddings?|(?:chat|text)[ -]completions?|completions?|chat\b(?! ?(?:template|with))"
    r"|generat(?:e|ion)|token counting|messages)(?: (?:api|endpoint|operation|requests?)\b)?"
    r"(?![ _-]?\w*(?:param|field|option|image|tool))",
    r"\b(?:operation|endpoint|embeddings?|completions?|chat)(?: api| endpoint| operation)?"
    r" (?:is|are) (?:not|un)[ -]?(?:supported|available|implemented|enabled)\b",
    r"\bunsupported (?:operation|endpoint|api)\b|^\W*not implemented\b",
    r"\bnot (?:a chat|an? (?:text[ -])?(?:embeddings?|completions?)) model\b",
    r"(?:is a chat|is an embeddings?) model and not supported",
)


def about_the_operation(message: str) -> bool:
    """Return whether a message says that the server or the model lacks the operation.

    Other operations may succeed there, and the same call can succeed only at another target.
    """
    return _OPERATION.search(message) is not None
