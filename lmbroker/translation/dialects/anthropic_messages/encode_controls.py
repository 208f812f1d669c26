"""Reasoning, sampling and output format -> Anthropic's (translation.md 2.1, 2.6, 2.7)."""

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.encode_blocks import Blocks
from lmbroker.translation.shared.instructions import JSON_LINE, follow_schema
from lmbroker.translation.shared.reasoning import budget_of, clip, effort_of, fit_budget
from lmbroker.translation.shared.schemas import anthropic_subset
from lmbroker.translation.shared.tool_schemas import completed
from lmbroker.translation.unified.parts import DocumentPart, ToolResultPart
from lmbroker.translation.unified.request import Reasoning

LEAST_TOP_P = 0.95
"""The least ``top_p`` that models up to 4.6 take while they think (vendor documentation)."""


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that control reasoning; ``on``: the model will think."""

    wire: JSON | None = None
    effort: str | None = None
    on: bool = False


def encode_thinking(
    blocks: Blocks, messages: list[JSON], max_tokens: int, forced: bool
) -> Thinking:
    """Return the fields for the requested reasoning, as far as the model has it."""
    profile, asked = blocks.profile, blocks.request.reasoning
    by_default = profile.thinking_default != "off"
    if asked is None or (asked.mode, asked.effort, asked.budget) == (None, None, None):
        shown = asked.display if asked is not None else None
        if by_default and (profile.show_reasoning or shown is not None):
            return Thinking(wire={"type": "adaptive", "display": shown or "summarized"}, on=True)
        return Thinking(on=by_default)
    if asked.mode == "off" or (asked.mode is None and asked.effort == "none"):
        return _off(blocks)
    if asked.mode == "between_tools":
        if "between_tools" in profile.thinking_types:
            return Thinking(wire={"type": "between_tools"}, effort=_gentle(blocks, asked))
        blocks.change("reasoning")
        return _off(blocks)
    if "adaptive" in profile.thinking_types:
        adaptive = {"type": "adaptive", "display": asked.display or "summarized"}
        return Thinking(wire=adaptive, effort=_effort(blocks, asked), on=True)
    if "enabled" not in profile.thinking_types:
        blocks.drop("reasoning")
        return Thinking(on=by_default)
    budget = _budget(asked, max_tokens)
    if budget is None or forced or _unsigned_call(messages):
        blocks.drop("reasoning")
        return Thinking()
    wire: JSON = {"type": "enabled", "budget_tokens": budget}
    if asked.display == "omitted":
        wire["display"] = "omitted"
    effort = _effort(blocks, asked) if profile.effort and asked.effort else None
    return Thinking(wire=wire, effort=effort, on=True)


def _off(blocks: Blocks) -> Thinking:
    profile = blocks.profile
    if "disabled" in profile.thinking_types:
        return Thinking(wire={"type": "disabled"})
    if "between_tools" in profile.thinking_types:
        blocks.change("reasoning")
        return Thinking(wire={"type": "between_tools"})
    if profile.thinking_default == "off":
        return Thinking()
    blocks.change("reasoning")
    return Thinking(effort=clip("low", profile.effort), on=True)


def _gentle(blocks: Blocks, asked: Reasoning) -> str | None:
    """Return the effort to send beside a mode that some models take only up to some effort."""
    effort, most = _effort(blocks, asked), blocks.profile.disabled_max_effort
    if effort is None or most is None:
        return effort
    allowed = clip(most, blocks.profile.effort)
    lower = clip(effort, [effort, *([allowed] if allowed else [])])  # type: ignore[arg-type]
    return lower


def _effort(blocks: Blocks, asked: Reasoning) -> str | None:
    """Return the model's level nearest to the requested effort or budget."""
    wanted = asked.effort
    if wanted is None and asked.budget is not None:
        wanted = effort_of(asked.budget)
        blocks.change("reasoning")
    if wanted is None:
        return None
    level = clip(wanted, blocks.profile.effort)
    if level is None:
        blocks.drop("effort")
    elif level != wanted:
        blocks.change("effort")
    return level


def _budget(asked: Reasoning, max_tokens: int) -> int | None:
    if asked.budget is not None:
        return fit_budget(asked.budget, max_tokens)
    return budget_of(asked.effort or "medium", max_tokens)


def _unsigned_call(messages: list[JSON]) -> bool:
    """Return whether the model's last turn has open calls and lacks its reasoning.

    With manual thinking Anthropic refuses such a conversation.
    """
    last = next((m for m in reversed(messages) if m["role"] == "assistant"), None)
    if last is None or not any(block["type"] == "tool_use" for block in last["content"]):
        return False
    return last["content"][0]["type"] not in ("thinking", "redacted_thinking")


def encode_sampling(blocks: Blocks, thinking: bool) -> JSON:
    """Return the sampling parameters that the model takes.

    To leave out a value that is the default anyway is no loss.
    """
    profile, request = blocks.profile, blocks.request
    sampling = request.sampling
    free = profile.sampling == "full" or (profile.sampling == "no_thinking" and not thinking)
    out: JSON = {}
    temperature, top_p = sampling.temperature, sampling.top_p
    if temperature is not None:
        if free:
            out["temperature"] = min(temperature, 1)
        if free and temperature > 1:
            blocks.change("temperature")
        elif not free and temperature != 1:
            blocks.drop("temperature")
    if top_p is not None:
        fits = free or (profile.sampling == "no_thinking" and top_p >= LEAST_TOP_P)
        if fits and not (profile.temp_xor_top_p and "temperature" in out):
            out["top_p"] = top_p
        elif top_p != 1:
            blocks.drop("top_p")
    if sampling.top_k is not None:
        if free:
            out["top_k"] = sampling.top_k
        else:
            blocks.drop("top_k")
    for name in ("frequency_penalty", "presence_penalty", "seed"):
        if getattr(sampling, name):
            blocks.drop(name)
    if sampling.logit_bias:
        blocks.losses.refuse(request.path("logit_bias"), soft=True)
    return out


def encode_stop(blocks: Blocks) -> list[str]:
    """Return the stop sequences that the backend takes.

    Anthropic refuses those of white space only. Of more than the backend takes, the first ones
    count.
    """
    stop, profile = blocks.request.stop, blocks.profile
    kept = [text for text in stop if text.strip()] if profile.stop else []
    if len(kept) < len(stop):
        blocks.drop("stop")
    if profile.stop_max is not None and len(kept) > profile.stop_max:
        blocks.change("stop")
        kept = kept[: profile.stop_max]
    return kept


def encode_output(blocks: Blocks, prefilled: bool) -> tuple[JSON | None, str]:
    """Return the output format, or the instruction that stands in for it."""
    output = blocks.request.output
    if output is None:
        return None, ""
    blocks.extras({}, output.extras)
    if output.kind == "json_object" or output.schema is None:
        blocks.change("output")
        return None, JSON_LINE
    profile = blocks.profile
    # Anthropic refuses a format beside an answer to be continued, and beside citations.
    if profile.structured_outputs and not prefilled and not _cites(blocks):
        whole, removed = completed(output.schema, profile.omit_schema_keywords, filled=False)
        subset = anthropic_subset(whole)
        if subset.schema is not None:
            if subset.moved or removed:
                blocks.change("output_schema")
            schema = subset.schema
            if output.description and "description" not in schema:
                schema = {**schema, "description": output.description}
            return {"type": "json_schema", "schema": schema}, ""
    blocks.change("output_schema")
    return None, follow_schema(output.schema)


def _cites(blocks: Blocks) -> bool:
    for turn in blocks.request.turns:
        for part in turn.parts:
            held = (part.parts or ()) if isinstance(part, ToolResultPart) else (part,)
            if any(isinstance(each, DocumentPart) and each.citations_on for each in held):
                return True
    return False
