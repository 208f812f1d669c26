"""The sentences of refusals that name no field of the request, as data (translation.md 0.4).

A new sentence is one line here and one in the tests.
"""

import re
from collections.abc import Iterable

from lmbroker.translation.refusals.wordings import any_of

SENTENCES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "signature",
        any_of(
            r"invalid `(?:signature|data)` in `(?:redacted_)?thinking`",
            r"bound to a different conversation",
            r"thinking[\w` ]{0,40} (?:blocks? )?(?:cannot be modified|signature (?:is )?invalid)",
            r"invalid (?:thinking )?signature",
            r"encrypted[ _]content`?(?: for item)?\b[^\n]{0,120}\b(?:could|can) ?not be"
            r" (?:verified|decrypted|parsed)|could not decrypt\b[^\n]{0,60}encrypted",
            r"encrypted_content`? was not issued|invalid_encrypted_content",
        ),
    ),
    (
        "item_not_found",
        any_of(
            r"item with id ['\"`]?rs_[^\n]{0,80} not found",
            r"items are not persisted when ['\"`]?store['\"`]? is (?:set to )?false",
        ),
    ),
    (
        "item_without_item",
        any_of(
            r"of type ['\"`]?reasoning['\"`]? was provided without its required following item",
            r"was provided without its required ['\"`]?reasoning['\"`]? item",
        ),
    ),
    ("item_twice", any_of(r"duplicate item found with id ['\"`]?rs_")),
    (
        "no_reasoning_items",
        any_of(
            r"(?:unsupported|unknown|invalid|unexpected|unrecogni[sz]ed)(?: input)?(?: item)?"
            r"(?: type)?:? ['\"`]?reasoning['\"`]?(?! (?:effort|level|mode))",
            r"reasoning items? (?:is|are) not (?:supported|allowed|accepted)",
        ),
    ),
    ("no_sealed_items", any_of(r"item\['content'\] is (?:not an array|empty)")),
    (
        "encrypted",
        any_of(
            r"encrypted (?:reasoning |thinking )?content is not (?:supported|available)",
            r"reasoning\.encrypted_content['\"`]?[^\n]{0,60}(?:not|n't|un)[\w ]{0,12}"
            r"(?:support|allow|avail)",
        ),
    ),
    (
        "summary",
        any_of(
            r"verified to (?:use|generate|get|receive|stream) (?:\w+ )?reasoning summar",
            r"reasoning summar(?:y|ies) (?:is|are) not (?:supported|available|enabled)",
        ),
    ),
    ("need_instructions", any_of(r"\binstructions are required\b")),
    (
        "functions_only",
        any_of(
            r"['\"`]?type['\"`]? of (?:a )?tools? must be ['\"`]?function",
            r"only (?:tools of type )?['\"`]?function['\"`]?(?: type)? tools? (?:is|are)"
            r" (?:supported|allowed)",
            r"(?:unsupported|unknown|invalid|unrecogni[sz]ed) (?:tool )?(?:type|variant|value)"
            r"\W{1,3}custom\b",
            r"custom tools? (?:is|are) (?:not|un)|(?:not|n't) support (?:the )?custom tools?",
            r"tool type ['\"`]?custom['\"`]? (?:is )?(?:not|un)",
            r"received\W{1,5}custom\b[\s\S]{0,60}expected\W{1,5}function",
        ),
    ),
    ("text_results", any_of(r"output of tool call should be ['\"`]?input text")),
    (
        "only_pdf",
        any_of(r"file type you (?:uploaded|provided) is not supported[^\n]{0,40}\bpdf\b"),
    ),
    (
        "no_instructions",
        any_of(
            r"system (?:role|message|prompt|instruction)s? (?:is |are )?not (?:supported|allowed)"
            r"(?! (?:after|in the middle|between))",
            r"does ?n[o']t support (?:the )?['\"`]?system['\"`]? (?:role|message|prompt)",
            r"developer instruction is not enabled",
            r"only ['\"`]?user['\"`]?[^.\n]{0,40} roles? (?:are|is) (?:supported|allowed)",
            r"roles? must be ['\"`]?user['\"`]?(?:/|,| and | or )\s?['\"`]?(?:assistant|model)",
            r"unexpected role ['\"`]?system['\"`]?(?! after)",
        ),
    ),
    (
        "instructions_first",
        any_of(
            r"system (?:message|role|prompt)s?\b[^.\n]{0,40}\b(?:must|should|can|may|has to"
            r"|needs to)(?: only| always)? (?:be|come|appear|stand|occur)\b[^.\n]{0,30}"
            r"(?:first|beginning|start|head|top|once|before|index 0)",
            r"system (?:message|role|prompt)s?\b[^.\n]{0,20} (?:must|should|has to) precede",
            r"system[^。\n]{0,20}(?:首位|首条|第一条|最开始|最前|开头)",
            r"system (?:message|role|prompt)s?\b[^.\n]{0,30} only[^.\n]{0,30}"
            r"(?:first|beginning|start|index 0)",
            r"(?:invalid|unsupported|unknown|illegal) (?:message )?role:? ['\"`]?system",
            r"\brole ['\"`]?system['\"`]? (?:is )?(?:invalid|unsupported"
            r"|not (?:supported|valid|allowed))",
            r"unexpected role ['\"`]?system['\"`]?(?! after)",
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
        any_of(
            r"['\"`]developer['\"`] is not one of|invalid value:? ['\"`]developer['\"`]",
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
        any_of(
            r"roles? must (?:strictly )?alternate|\balternate roles\b",
            r"consecutive messages (?:have|of|with|from) the same role",
            r"(?:should|must|have to|need to) (?:strictly )?alternate (?:between|with)",
            r"roles? (?:should|must|have to|need to)(?: strictly)? (?:be alternating|alternate)",
            r"\b(?:odd|even)\b[^.\n]{0,60}\b(?:must|should) be (?:an? )?['\"`]?(?:user|assistant)",
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
        any_of(
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
        any_of(
            r"tool[_ ]call[_ ]?id\b[^\n]{0,80}(?:length of (?:exactly )?|exactly )9\b",
            r"tool_calls?\[\d+\]\.id[^\n]{0,40}string too long",
            r"tool_call_id[^\n]{0,40}string too long",
        ),
    ),
    (
        "prefill",
        any_of(
            r"does not support assistant message prefill",
            r"assistant (?:response |message )?prefill(?:ing)?[^.\n]{0,40}"
            r"(?:incompatible|not supported|not allowed)",
            r"conversation must end with a user message",
            r"last message (?:must|should|cannot|can't)[^.\n]{0,30}(?:user|assistant)",
            r"expected last role[^\n]{0,30}(?:user|tool)",
        ),
    ),
    (
        "images",
        any_of(
            r"(?:not|n't|is not) an? (?:multi-?modal|vision|visual)[ -]?(?:language )?model",
            r"\bnot an? vlm\b|not supported for (?:vision|images?)\b",
            r"(?:multi-?modal|vision|image)(?: inputs?| modality| content| feature)* (?:is|are)"
            r" (?:not (?:enabled|available|supported)|disabled)",
            r"\bhas no (?:vision|image)|\bmodel (?:cannot|can not|can't) (?:read|see|view) images",
            r"(?:no|load an?) (?:multi-?modal|vision) projector",
            r"content types? ['\"`]?image(?:_url)?\b['\"`]? (?:is|are) (?:not|un)",
            r"(?:not|n't) support (?:the )?content type ['\"`]?image",
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
            r"['\"` ](?:image_url|input_image|image)\b['\"`]?"
            r"(?! (?:media|format|type|size|url|data)|[^\n]{0,80}\bformats?\b)",
            r"(?:requires|needs|without) (?:an? )?(?:mmproj|vision)",
            r"missing (?:the )?(?:data|weights|projector)[^.\n]{0,20} for (?:image|vision)",
            r"不支持[^。\n]{0,12}(?:图片|图像|视觉|多模态|image)",
            r"image(?:_url)?['\"`]? ?类型不支持",
            r"text[- ]only (?:model|input)|only (?:supports?|accepts?) text\b",
        ),
    ),
    (
        "documents",
        any_of(
            r"(?:not|n't) (?:yet |currently )?(?:support|accept|handle|process)\w* "
            r"(?:the |any )?(?:pdf|document|file)",
            r"(?:pdf|document|file)(?: input| parts?| content| blocks?| attachment)?s?['\"`]? "
            r"(?:is|are) (?:not (?:supported|allowed|accepted)|unsupported)",
            r"不支持[^。\n]{0,12}(?:file|文件|文档|pdf)|(?:file|document)['\"`]? ?类型不支持",
            r"unsupported (?:mime|media|file) ?type:? ['\"`]?(?:application/)?pdf",
            r"(?:unsupported|unknown|invalid|unexpected|unrecogni[sz]ed)[\w \[\].'\"`:]{0,40}"
            r"['\"` ](?:file|document|input_file)\b['\"`]?(?! (?:type|format|size|id))",
            r"unknown variant `(?:file|document)`",
            r"no endpoints found that support (?:file|pdf|document)",
        ),
    ),
    (
        "strings_only",
        any_of(
            r"content(?: field)? must be a string|expected (?:an? )?string for content",
            r"content['\"`]?:? (?:must be|should be|expected)(?: an?)? string\b",
            r"content\b[^\n]{0,40}\bstr type expected",
            r"content['\"`]? type\b[^\n]{0,40}\['str'\]",
            r"/content'?, ?'array' not in 'string'",
            r"content['\"`]?(?:\.str)?\s?[,:]? (?:['\"]msg['\"]: ['\"])?(?:value |input )?"
            r"(?:must|should) be a (?:valid )?string",
            r"content\b[^\n]{0,40}invalid type: sequence, expected a string",
        ),
    ),
    (
        "attachments",
        any_of(
            r"unsupported content\[\]\.type",
            r"unsupported (?:chat )?content (?:part )?type",
            r"content (?:blocks?|parts?)[^.\n]{0,30}(?:must|should|can only|expected to) be"
            r"[^.\n]{0,20}\btext\b",
            r"content['\"`]?\s?[,:]? (?:['\"]msg['\"]: ['\"])?(?:value |input )?"
            r"(?:must|should) be a (?:valid )?string",
            r"only ['\"`]?text['\"`]? (?:content|parts|messages)",
            r"(?:unsupported|invalid) (?:message )?content type|invalid message format",
            r"messages\[\d+\](?:\.content)?: data did not match any variant",
            r"invalid content type",
        ),
    ),
    (
        "thinking",
        any_of(
            r"does not support (?:extended )?(?:thinking|reasoning)(?! (?:level|effort value|mode "
            r"['\"`]))\b(?!\.)(?!_)",
            r"(?<![.\w])(?:thinking|reasoning)(?: mode| effort)? is not"
            r" (?:supported|available|enabled)",
            r"not a (?:reasoning|thinking) model",
        ),
    ),
    (
        "must_think",
        any_of(
            r"only (?:works|supports?|runs)(?: in)? (?:the )?(?:thinking|reasoning) mode",
            r"(?:thinking|reasoning)(?: mode)? (?:cannot|can ?not|can't|must not|may not) be"
            r" (?:disabled|turned off|switched off)",
            r"(?:thinking|reasoning) is (?:mandatory|always on|required)",
            r"(?:not|n't) support (?:disabling|turning off) (?:thinking|reasoning)",
        ),
    ),
    (
        "effort_with_tools",
        any_of(
            r"function tools with reasoning_effort are not supported",
            r"reasoning_effort[`'\"]? (?:is )?not supported (?:with|together with|alongside)"
            r" (?:function )?tools",
        ),
    ),
    (
        "adaptive",
        any_of(r"adaptive thinking is not supported"),
    ),
    (
        "forced_with_thinking",
        any_of(
            r"tool_choice[^.\n]{0,120}(?:in|with|when|while|during|incompatible with)[^.\n]{0,40}"
            r"(?:thinking|reasoning)",
            r"thinking[^.\n]{0,60}(?:tool_choice|forces tool use)",
        ),
    ),
    (
        "forced",
        any_of(
            r"tool_choice[`'\"]?(?:\.\w+)?(?![^.\n]{0,80}\brequired\b)[^.\n]{0,30}"
            r"(?:only|must be|仅支持|只支持)[^.\n]{0,24}['\"`]?\bauto\b",
            r"only named tools (?:are|is) (?:supported|allowed)",
            r"tool_choice[^.\n]{0,8}(?:仅支持|只支持)\s?auto",
            r"\brequired['\"`]? is not a? ?(?:valid|supported)[\w ]{0,12} tool_choice",
            r"(?:function[_ ]calling|tool)[_ ](?:config )?mode\W{1,4}any\b[^.\n]{0,20}not",
            r"(?:only|just) ['\"`]?auto['\"`]? (?:is|are)[^.\n]{0,20}(?:supported|allowed)"
            r"[^.\n]{0,30}tool",
            r"(?:forced|forcing|required) (?:an? )?(?:tool|function)[^.\n]{0,30}(?:not|n't|un)",
            r"(?:specifying functions|naming tools?)[^.\n]{0,40}tool_choice is not",
        ),
    ),
    (
        "stay_silent",
        any_of(
            r"enable[_ ]thinking[^.\n]{0,30}(?:must be (?:set to )?false|can ?not be? ?support"
            r"|only)[^.\n]{0,30}(?:non-?stream|stream)",
            r"(?:thinking|reasoning)[^.\n]{0,40}only[^.\n]{0,30}stream",
        ),
    ),
    (
        "replay_missing",
        any_of(
            r"reasoning_content`?[^.\n]{0,60}must be passed back",
            r"reasoning_content`? is missing",
            r"missing (?:the |field )?`?reasoning_content|reasoning_content`? is required",
        ),
    ),
    (
        "tools_with_format",
        any_of(
            r"(?:json mode|response[_ ]format|json_schema|structured outputs?|response mime type)"
            r"[^.\n]{0,60}(?:with|and|combined)[^.\n]{0,30}(?:tool|function)",
            r"(?:function calling|tools?)[^.\n]{0,40}(?:with|and)[^.\n]{0,40}(?:json mode"
            r"|response[_ ]format|json_schema|structured outputs?|response mime type)"
            r"[^.\n]{0,40}(?:unsupported|not|n't)",
        ),
    ),
    (
        "format",
        any_of(
            r"response[_ ]format[^.\n]{0,20}type is (?:unavailable|not)",
            r"(?:structured outputs?|json[_ ]schema|guided[_ ](?:decoding|json)|response[_ ]format)"
            r"[^.\n]{0,60}(?:not|n't)[\w ]{0,12} (?:supported|available|enabled|allowed)",
            r"(?:not|n't)[\w ]{0,12} support[\w ]{0,20} (?:structured outputs?|json[_ ]schema"
            r"|guided[_ ](?:decoding|json)|['\"`]?response[_ ]format)",
            r"(?:unsupported|unknown|invalid)[\w ]{0,12} response[_ ]format",
            r"invalid schema for response_format",
            r"(?:not|n't)[\w ]{0,12} support json mode|json mode is not",
            r"(?:not|n't)[\w ]{0,12} support (?:the )?output[_ ]format",
            r"response_format[^.\n]{0,40}(?:enabled|available|supported) only",
            r"unable to generate (?:grammar|parser)[^.\n]{0,200}response_format",
        ),
    ),
    (
        "strict",
        any_of(
            r"additionalproperties' is required to be supplied and to be false",
            r"'required' is required to be supplied and to be an array",
            r"strict(?:=true| mode| schema| tool)[^.\n]{0,60}(?:not|n't|un)",
            r"(?:not|n't|un)[\w ]{0,20} in strict mode|too many (?:strict tools|optional param)",
            r"(?:schema is too complex|grammar is too large)",
            r"(?:not|n't) support strict",
        ),
    ),
)
"""The meaning of each group of sentences, and the pattern of their words. All that match count,
since one answer may refuse several things at once."""


def meanings(text: str, only: Iterable[str] | None = None) -> set[str]:
    """Return the meanings whose words are in ``text``; with ``only``, none but those among them."""
    wanted = None if only is None else set(only)
    return {
        meaning
        for meaning, pattern in SENTENCES
        if (wanted is None or meaning in wanted) and pattern.search(text)
    }
