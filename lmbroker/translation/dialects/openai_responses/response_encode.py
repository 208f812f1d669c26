"""The Unified Model -> whole answers of Responses (translation.md 8.2)."""

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.openai.ending import encode_tier, explanation
from lmbroker.translation.dialects.openai_responses import envelope, output_items
from lmbroker.translation.dialects.openai_responses.reasoning_items import (
    ORIGIN,
    is_content,
    texts_of,
)
from lmbroker.translation.dialects.openai_responses.reasoning_tokens import encrypted_content
from lmbroker.translation.shared.answer_ids import RESPONSE, answer_id
from lmbroker.translation.unified.parts import (
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response
from lmbroker.usage import Usage


def encode_response(response: Response, reply: Reply) -> JSON:
    """Return the body of the answer for the client."""
    id = answer_id(RESPONSE, response.id, reply.request_id)
    output = _Output(reply, envelope.item_suffix(id, RESPONSE))
    for part in response.parts:
        output.add(part)
    reason = envelope.incomplete(response.stop, refused=output.refused)
    why = explanation(response.stop)
    if why and not output.refused:
        output.add(TextPart(text=why, refusal=True))
    output.close(cut=reason is not None)
    tier = encode_tier(response.tier) if reply.wants_tier else None
    if reason is None:
        head = envelope.head(id, reply, "completed")
    else:
        head = envelope.head(id, reply, "incomplete", incomplete_details={"reason": reason})
    return {
        **head,
        "output": output.items,
        **envelope.echoed(reply.echo),
        **envelope.last_fields(response.usage or Usage(), tier),
    }


class _Output:
    """Collects the items of one answer."""

    def __init__(self, reply: Reply, suffix: str) -> None:
        self.items: list[JSON] = []
        self.refused = False
        """Whether the model refused in words of its own."""
        self._reply = reply
        self._suffix = suffix
        self._calls = 0
        self._text: list[TextPart] = []
        """The parts of the message that is being collected."""
        self._open = False
        """Whether the last item may go on, as far as the parts show."""
        self._searches: dict[str | None, int] = {}
        """The places of searches that have no result yet, by the id of the call."""

    def add(self, part: Part) -> None:
        """Add the next part; one that only another vendor understands is left out."""
        if isinstance(part, TextPart):
            output_items.report_extras(part, self._reply.losses)
            self._open = self._open and bool(self._text)
            if part.text:
                self._text.append(part)
                self.refused = self.refused or part.refusal
            else:
                output_items.uncited(part.citations, self._reply.losses)
        elif isinstance(part, ReasoningPart):
            self._say()
            self._append(self._reasoning(part))
        elif isinstance(part, ToolCallPart):
            self._say()
            self._append(self._call(part))
        elif isinstance(part, OpaquePart):
            self._opaque(part)

    def close(self, *, cut: bool) -> None:
        """End the output; ``cut``: the answer broke off in its last item."""
        self._say(cut=cut)
        if cut and self._open and "status" in self.items[-1]:
            self.items[-1]["status"] = "incomplete"

    def _append(self, item: JSON, *, open: bool = True) -> None:
        self.items.append(item)
        self._open = open

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._suffix}_{len(self.items)}"

    def _say(self, *, cut: bool = False) -> None:
        """Make one message of the collected texts."""
        parts, self._text = self._text, []
        if not parts:
            return
        content: list[JSON] = []
        run: list[TextPart] = []
        for part in parts:
            if run and run[0].refusal is not part.refusal:
                content.append(self._content(run))
                run = []
            run.append(part)
        content.append(self._content(run))
        id, own = self._id(output_items.MESSAGE), output_items.own_fields(parts[0])
        self._append(output_items.message(id, "completed", content, own))

    def _content(self, parts: list[TextPart]) -> JSON:
        """Return the content part for consecutive texts."""
        text = json_text.joined(part.text for part in parts)
        if parts[0].refusal:
            return output_items.refusal(text)
        annotations: list[JSON] = []
        chars = 0
        for part in parts:
            start, chars = chars, chars + len(part.text)
            if part.citations:
                losses = self._reply.losses
                annotations += output_items.cited(part.citations, start, chars, losses)
        return output_items.output_text(text, annotations)

    def _reasoning(self, part: ReasoningPart) -> JSON:
        made = self._id(output_items.REASONING)
        id = output_items.reasoning_id(part.signature, made)
        hide = self._reply.hide_reasoning
        texts = [] if hide else texts_of(part.text, part.signature)
        hidden = part.text if hide else ""
        token = encrypted_content(part.signature, part.redacted, hidden)
        return output_items.reasoning(id, texts, token, content=is_content(part.signature))

    def _call(self, part: ToolCallPart) -> JSON:
        reply = self._reply
        item = output_items.call(self._id(""), part, self._calls, reply)
        self._calls += 1
        output_items.report_extras(part, reply.losses)
        sent = part.raw_args or ""
        if item["type"] == "custom_tool_call":
            item["input"] = output_items.input_of(part, sent, reply.losses)
        elif item["type"] == "tool_search_call":
            item["arguments"] = output_items.object_of(part, sent, reply.losses)
        else:
            item["arguments"] = sent + output_items.missing_arguments(part, sent)
        return {**item, "status": "completed"}

    def _opaque(self, part: OpaquePart) -> None:
        if part.origin == ORIGIN:
            self._say()
            self._append(part.raw, open=False)
        elif output_items.searches(part):
            self._say()
            self._searches[output_items.id_of(part)] = len(self.items)
            id = self._id(output_items.SEARCH)
            self._append(output_items.search(id, "incomplete", part.raw), open=False)
        else:
            place = self._searches.pop(output_items.use_of(part), None)
            if place is None:
                self._reply.losses.drop(part.path)
            else:
                self._reply.losses.change(part.path)
                self.items[place] = output_items.searched(self.items[place], part.raw)
