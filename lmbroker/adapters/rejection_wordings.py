"""Who says what: the words with which backends refuse a request, as data (translation.md 0.4).

A new sentence is one line here and one in the tests. There are three kinds of knowledge: how a
refusal is worded whatever it is about (``REFUSING`` and its neighbours), which sentences say what
is wrong without a field's name (``SENTENCES``), and which words of a status 500 tell that the
request is at fault, not the server (``about_the_request``).
"""

import re
from collections.abc import Iterable


def _any(*patterns: str) -> re.Pattern[str]:
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

REFUSING = _any(
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
    r"\bmay only be set\b|\bdeprecated for\b",
    r"\bonly (?:be )?(?:supported|available|allowed) (?:with|for|by|in|on|when)\b",
)
"""What says of something that the backend does not take it."""

MALFORMED = _any(
    r"\bfield required\b|\bis required\b|\bare required\b|\bmissing\b|\bmust (?:not )?be empty\b",
    r"\bcannot be (?:empty|null|blank)\b|\bmust be (?:provided|present|supplied)\b",
    r"\bvalid (?:string|integer|number|list|dictionary|array|boolean|object|tuple)\b",
    r"\b(?:must|should|expected to) be (?:a |an )?(?:of type )?(?:string|integer|number|list|array"
    r"|boolean|object|dictionary|null)\b",
    r"\btype must be (?:a |an )?(?:string|number|integer|boolean|array|object)",
    r"\bbut (?:is|got) (?:a |an )?(?:string|integer|number|null|boolean)\b",
    r"\bvalid json\b|\bjson decode\b|\bparse error\b|\bjson_invalid\b",
)
"""What says of something that it is of another type, or not there: no repair of ours helps."""

ADVICE = _any(
    r"\bdid you mean\b",
    r"\b(?:please )?(?:use|try|remove|omit|disable|enable|refer|consult|see|visit|upgrade|switch)\b"
    r"(?! of\b)",
    r"\bto (?:learn|find out|drop|use)\b|\bfor more\b|\binstead\b",
    r"\b(?:supported|allowed|valid|accepted|available|permitted|possible)"
    r" (?:values|parameters|levels|options|types|fields|arguments|efforts?)\b",
    r"\bexpected (?:one of|any of|['\"`])",
    r"\bone of\b",
)
"""Where a sentence begins to say what would be right: names behind it are not to blame."""

VALUES = _any(
    r"\b(?:must|should|has to|needs to|can only|may only) be (?:one of|either|any of|in|set to)?",
    r"\b(?:supported|allowed|valid|accepted|available|permitted|possible|legal)"
    r" (?:values?|levels?|options?|types?|efforts?)(?: for [\w.'\"` -]{1,60}?)?"
    r"(?: (?:are|is|include))?",
    r"\bexpected(?: one of| any of| a value in)?",
    r"\binput should be\b|\bchoose (?:from|one of)\b",
    r"\bone of\b|\bonly\b",
)
"""Where a list of the values begins that a backend takes."""

# The largest value that a backend takes; the number is the group ``n``.
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
        rf"\bmax(?:imum)?(?: (?:allowed|supported|permitted|output|completion|number of|value|limit"
        rf"|tokens?|length|size|is|of|for [\w.'`-]+))*\s*[:=(]?\s*{_N}",
        rf"\b(?:exceed(?:s|ed|ing)?|above|over|greater than|larger than|more than|higher than)"
        rf" (?:the |its |this |our |an? )?(?:[\w'-]+ ){{0,6}}?\(?(?:of |is |=|: ?)?{_N}",
        rf"\blimit(?:ed)? (?:of|is|to|at|:)\s*{_N}",
        rf"\b(?:less than|below) {_N}",
        rf"{_N} or (?:less|fewer|lower|below)",
        rf"\bsupports? (?:only |a maximum of |a max of |at most )?{_N}",
        rf"\bmax_(?:model_len|tokens|output_tokens|completion_tokens|new_tokens)\s*[=:]\s*{_N}",
    )
)

WINDOW = _any(r"max_model_len|max_total_tokens|\bn_ctx\b|\bcontext[_ ](?:window|length|size)\b")
"""A limit that prompt and answer share."""

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
"""What backends call the limit of an answer's length, whatever it is called in the request."""

LIMIT_WORDS = _any(
    r"max[_ ]?(?:completion|new|output)?[_ ]?tokens\b|maxtokens|maxoutputtokens"
    r"|\b(?:output|completion|response|generated) tokens?\b|\bmaximum tokens\b|\bn_predict\b"
)

CONFLICT = _any(
    r"\b(?:both|together|simultaneously|at the same time|in combination|mutually exclusive)\b",
    r"\bincompatible with\b|\bconflicts? with\b",
    r"\b(?:cannot|can not|can't|must not|may not|not) (?:be )?(?:combined|used|set|specified)"
    r"[\w ]{0,20} (?:with|when|while|alongside)\b",
    r"\bcannot be (?:disabled|enabled) when\b",
)
"""What says of two things that only one of them may stand there."""

# Sentences that say what is wrong without naming a field of the request.

SENTENCES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "signature",
        _any(
            r"invalid `(?:signature|data)` in `(?:redacted_)?thinking`",
            r"bound to a different conversation",
            r"thinking[\w` ]{0,40} (?:blocks? )?(?:cannot be modified|signature (?:is )?invalid)",
            r"invalid (?:thinking )?signature",
        ),
    ),
    (
        "no_instructions",
        _any(
            r"system (?:role|message|prompt|instruction)s? (?:is |are )?not (?:supported|allowed)"
            r"(?! (?:after|in the middle|between))",
            r"does ?n[o']t support (?:the )?['\"`]?system['\"`]? (?:role|message|prompt)",
            r"developer instruction is not enabled",
            r"only ['\"`]?user['\"`]?[^.\n]{0,40} roles? (?:are|is) (?:supported|allowed)",
            r"unexpected role ['\"`]?system['\"`]?(?! after)",
        ),
    ),
    (
        "instructions_first",
        _any(
            r"system (?:message|role|prompt)s?\b[^.\n]{0,40}\b(?:must|should|can|may|has to"
            r"|needs to)(?: only| always)? (?:be|come|appear|stand|occur)\b[^.\n]{0,30}"
            r"(?:first|beginning|start|head|top|once)",
            r"only (?:the )?first message (?:can|may|must)[^.\n]{0,30}system",
            r"(?:multiple|several|more than one|only one) system (?:message|prompt|role)s?",
            r"(?:role )?['\"`]?system['\"`]?(?: role| messages?)? (?:is |are )?(?:not allowed|only"
            r" (?:allowed|supported))[^.\n]{0,20}(?:after|first|beginning|start|middle|between)",
            r"unexpected role ['\"`]?(?:system|developer)['\"`]? after role",
            r"system message[^.\n]{0,30}(?:in the middle|after the (?:first|beginning))",
        ),
    ),
    (
        "developer_role",
        _any(
            r"['\"`]developer['\"`] is not one of",
            r"does not support ['\"`]developer['\"`]",
            r"(?:unexpected|unknown|unsupported|invalid|unrecogni[sz]ed) (?:message )?role:? "
            r"['\"`]?developer",
            r"developer role (?:is )?not supported",
            r"unknown variant `developer`",
            r"role ['\"`]?developer['\"`]? (?:is )?(?:not|un)",
        ),
    ),
    (
        "turns",
        _any(
            r"roles? must (?:strictly )?alternate",
            r"(?:should|must|have to|need to) (?:strictly )?alternate (?:between|with)",
            r"\balternate between (?:the )?['\"`]?(?:user|roles?)|successive user or assistant",
            r"\bmust (?:start|begin) with (?:an? )?['\"`]?user",
            r"alternating (?:user|roles?)",
            r"(?:consecutive|multiple|two|successive) (?:messages? (?:from|of|with) the same role"
            r"|(?:\\?['\"`])?(?:user|assistant)(?:\\?['\"`])? (?:messages|roles|turns))",
            r"unexpected role ['\"`]?user['\"`]? after role ['\"`]?user",
            r"unexpected role ['\"`]?assistant['\"`]? after role ['\"`]?assistant",
            r"same role (?:twice|in a row|consecutively)|roles in a row",
            r"2 or more assistant messages",
        ),
    ),
    (
        "after_tool",
        _any(
            r"unexpected role ['\"`]?(?:user|system|developer)['\"`]? after role ['\"`]?tool",
            r"(?:user|system) (?:message|role|turn)s? (?:can ?not|must not|may not"
            r"|not allowed to|should not)(?: directly| immediately)?"
            r" (?:follow|come after|be after) (?:an? )?['\"`]?tool",
            r"tool result blocks cannot be provided in the same turn",
            r"tool (?:message|result|response|role)s?[^.\n]{0,20} must be followed by (?:an? )?"
            r"['\"`]?assistant",
            r"after (?:an? )?['\"`]?tool['\"`]?(?: message| role| result)?,? (?:only |expected )"
            r"[^.\n]{0,20}assistant",
        ),
    ),
    (
        "call_ids",
        _any(
            r"tool[_ ]call[_ ]?id\b[^.\n]{0,80}length of (?:exactly )?9",
            r"tool_calls?\[\d+\]\.id[^\n]{0,40}string too long",
            r"tool_call_id[^\n]{0,40}string too long",
        ),
    ),
    (
        "prefill",
        _any(
            r"does not support assistant message prefill",
            r"assistant (?:response |message )?prefill(?:ing)?[^.\n]{0,40}"
            r"(?:incompatible|not supported|not allowed)",
            r"conversation must end with a user message",
            r"last message (?:must|should|cannot|can't)[^.\n]{0,30}(?:user|assistant)",
            r"expected last role user or tool",
        ),
    ),
    (
        "images",
        _any(
            r"(?:not|n't|is not) an? (?:multi-?modal|vision|visual)[ -]?(?:language )?model",
            r"at most \d+ image",
            r"image[_ ]?(?:url|input|data|content)?s?(?: input| parts?| content)?s?['\"`]? "
            r"(?:is|are) (?:only supported by|not (?:supported|allowed|accepted|enabled)"
            r"|unsupported|disabled|unavailable)",
            r"(?<!could )(?:not|n't) (?:yet |currently )?"
            r"(?:support|accept|handle|process|have|take)\w*"
            r"(?: the| any)? (?:['\"`])?(?:image|vision|visual|multi-?modal|picture|non-text)",
            r"no endpoints found that support image",
            r"unknown variant `image_url`",
            r"(?:unsupported|unknown|invalid|unexpected|unrecogni[sz]ed)[\w \[\].'\"`:]{0,40}"
            r"['\"` ](?:image_url|input_image|image)\b['\"`]?(?! (?:media|format|type|size|url))",
            r"(?:requires|needs|without) (?:an? )?(?:mmproj|vision)",
            r"missing (?:the )?(?:data|weights|projector)[^.\n]{0,20} for (?:image|vision)",
            r"不支持[^。\n]{0,12}(?:图片|图像|视觉|多模态)",
            r"text[- ]only (?:model|input)|only (?:supports?|accepts?) text\b",
        ),
    ),
    (
        "documents",
        _any(
            r"(?:not|n't) (?:yet |currently )?(?:support|accept|handle|process)\w* "
            r"(?:the |any )?(?:pdf|document|file)",
            r"(?:pdf|document|file)(?: input| parts?| content| blocks?| attachment)?s?['\"`]? "
            r"(?:is|are) (?:not (?:supported|allowed|accepted)|unsupported)",
            r"(?:unsupported|unknown|invalid|unexpected|unrecogni[sz]ed)[\w \[\].'\"`:]{0,40}"
            r"['\"` ](?:file|document|input_file)\b['\"`]?(?! (?:type|format|size|id))",
            r"unknown variant `(?:file|document)`",
            r"no endpoints found that support (?:file|pdf|document)",
        ),
    ),
    (
        "attachments",
        _any(
            r"unsupported content\[\]\.type",
            r"unsupported (?:chat )?content (?:part )?type",
            r"content (?:blocks?|parts?)[^.\n]{0,30}(?:must|should|can only|expected to) be"
            r"[^.\n]{0,20}\btext\b",
            r"content(?: field)? must be a string",
            r"content['\"`]?\s?[,:]? (?:['\"]msg['\"]: ['\"])?(?:value |input )?"
            r"(?:must|should) be a (?:valid )?string",
            r"only text (?:content|parts|messages)",
            r"(?:unsupported|invalid) (?:message )?content type|invalid message format",
            r"messages\[\d+\](?:\.content)?: data did not match any variant",
            r"invalid content type",
        ),
    ),
    (
        "thinking",
        _any(
            r"does not support (?:extended )?(?:thinking|reasoning)(?! (?:level|effort value|mode "
            r"['\"`]))\b(?!\.)(?!_)",
            r"(?<![.\w])(?:thinking|reasoning)(?: mode)? is not (?:supported|available|enabled)",
            r"not a (?:reasoning|thinking) model",
        ),
    ),
    (
        "effort_with_tools",
        _any(r"function tools with reasoning_effort are not supported"),
    ),
    (
        "adaptive",
        _any(r"adaptive thinking is not supported"),
    ),
    (
        "forced_with_thinking",
        _any(
            r"tool_choice[^.\n]{0,120}(?:in|with|when|while|during|incompatible with)[^.\n]{0,40}"
            r"(?:thinking|reasoning)",
            r"thinking[^.\n]{0,60}(?:tool_choice|forces tool use)",
        ),
    ),
    (
        "forced",
        _any(
            r"tool_choice[`'\"]?(?:\.\w+)?[^.\n]{0,30}(?:only|must be)[^.\n]{0,12}['\"`]?auto\b"
            r"(?![^.\n]{0,20}required)",
            r"(?:only|just) ['\"`]?auto['\"`]? (?:is|are)[^.\n]{0,20}(?:supported|allowed)"
            r"[^.\n]{0,30}tool",
            r"(?:forced|forcing|required) (?:tool|function)[^.\n]{0,30}(?:not|n't|un)",
            r"(?:specifying functions|naming tools?)[^.\n]{0,40}tool_choice is not",
        ),
    ),
    (
        "stay_silent",
        _any(
            r"enable[_ ]thinking[^.\n]{0,30}(?:must be (?:set to )?false|can ?not be? ?support"
            r"|only)[^.\n]{0,30}(?:non-?stream|stream)",
            r"(?:thinking|reasoning)[^.\n]{0,40}only[^.\n]{0,30}stream",
        ),
    ),
    (
        "replay_missing",
        _any(
            r"reasoning_content`?[^.\n]{0,60}must be passed back",
            r"reasoning_content`? is missing",
            r"missing (?:the )?`?reasoning_content",
        ),
    ),
    (
        "tools_with_format",
        _any(
            r"(?:json mode|response[_ ]format|json_schema|structured outputs?|response mime type)"
            r"[^.\n]{0,60}(?:with|and|combined)[^.\n]{0,30}(?:tool|function)",
            r"(?:function calling|tools?)[^.\n]{0,40}(?:with|and)[^.\n]{0,40}(?:json mode"
            r"|response[_ ]format|json_schema|structured outputs?|response mime type)"
            r"[^.\n]{0,40}(?:unsupported|not|n't)",
        ),
    ),
    (
        "format",
        _any(
            r"response[_ ]format[^.\n]{0,20}type is (?:unavailable|not)",
            r"(?:structured outputs?|json[_ ]schema|guided (?:decoding|json)|response[_ ]format)"
            r"[^.\n]{0,60}(?:not|n't)[\w ]{0,12} (?:supported|available|enabled|allowed)",
            r"(?:not|n't)[\w ]{0,12} support[\w ]{0,20} (?:structured outputs?|json[_ ]schema"
            r"|guided (?:decoding|json)|['\"`]?response[_ ]format)",
            r"(?:unsupported|unknown|invalid)[\w ]{0,12} response[_ ]format",
            r"invalid schema for response_format",
            r"(?:not|n't)[\w ]{0,12} support json mode|json mode is not",
            r"unable to generate (?:grammar|parser)[^.\n]{0,200}response_format",
        ),
    ),
    (
        "strict",
        _any(
            r"additionalproperties' is required to be supplied and to be false",
            r"'required' is required to be supplied and to be an array",
            r"strict (?:mode|schema|tool)[^.\n]{0,60}(?:not|n't|un)",
            r"(?:not|n't) support strict",
        ),
    ),
)
"""What the sentences mean -> how they are worded. All that fit count: one answer may refuse
several things at once."""

# Schemas.

SCHEMA_WORDS = _any(
    r"schema|function_declarations|input_schema|function\.parameters|tools\[\d+\]|tools\.\d+"
    r"|\bfunction '[^']*'|\bfunction (?:parameters|format)|\bregex\b|\bregular expression"
    r"|\bgrammar\b"
)
"""What says that a refusal is about a schema."""

SCHEMA_REFUSED = _any(
    r"invalid|not (?:supported|allowed|permitted|a)\b|unsupported|unrecogni[sz]ed|unknown"
    r"|unexpected|cannot find field|is not|does not|failed|must not|not one of|error"
    r"|unresolvable|only "
)

REGEX_WORDS = _any(r"\bregex|\bregular expression|\blook-?(?:around|ahead|behind)|\bpattern\b")

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
"""Keywords of JSON Schema without which a tool's schema still says what its arguments are."""

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

NEVER_WORDS = _any(
    r"content (?:management|policy|filter)|\bmoderation\b|inappropriate content|\bsafety (?:system"
    r"|filter|policy)|usage polic|risk control|\bflagged\b",
    r"\byour (?:account|organi[sz]ation|plan|team|project)\b",
    r"\bquota\b|\bbilling\b|\bcredits?\b|rate limit|\btoo many requests\b|\bsubscription\b",
    r"\bapi[ _-]?key\b|\bunauthori[sz]ed\b|\bauthenticat|permission denied|access denied",
    r"model [^.\n]{0,80}(?:does not exist|not found|is not supported\. supported models)",
    r"\bno such model\b|invalid model name",
)
"""Refusals that are about the account, the model's name or what the texts say."""

# A status 500 that is about the request.

_REQUEST = _any(
    r"\bjinja\b|chat template|template error|templateerror|raise_exception",
    r"roles must alternate|system message must|unexpected role|unexpected message role",
    r"failed to parse (?:the )?(?:tool|message|grammar|input|request|json|content|arguments)",
    r"json\.exception|json decode error|invalid json",
    r"(?:image|audio|video|file|document)s?(?: input)? (?:is|are) not supported",
    r"\bnot a multimodal model|mmproj",
    r"param(?:eter)?s? requires|unsupported (?:param|tool|content|role|message|parameter)",
    r"cannot use tools with stream",
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
    """Whether the words of a status 500 blame the request: the same one would fail again, and the
    server is well."""
    return _REQUEST.search(message) is not None


# What is said of an operation as a whole.

_OPERATION = _any(
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
    """Whether the words say that the server or the model has no such operation: each other one may
    go well there, and the same call goes well elsewhere only."""
    return _OPERATION.search(message) is not None


def meanings(text: str, only: Iterable[str] | None = None) -> set[str]:
    """The meanings of ``SENTENCES`` whose words stand in ``text``."""
    wanted = None if only is None else set(only)
    return {
        meaning
        for meaning, pattern in SENTENCES
        if (wanted is None or meaning in wanted) and pattern.search(text)
    }
