"""Writes a tiny language model of random weights as a GGUF file, for a real llama.cpp server.

The model is of the llama architecture: two layers, width 64, one token for each printable ASCII
character, one for each byte, and the special tokens of a ChatML-like chat with tools and thinking.
Its text is noise. What matters is real: tokens are counted, prompts fill a context, answers end
by themselves or at a limit, grammars force JSON and tool calls.

The weights come from a fixed seed, so a file written twice is the same. They are small in the
layers; the tables at both ends make the model a noisy bigram model whose habits ``HABITS`` and
``AT_START`` choose. As a script: ``python tiny_model.py FILE``.
"""

import sys
from pathlib import Path

import gguf
import numpy

SEED = 20
LAYERS = 2
WIDTH = 64
HEADS = 4
FEED_FORWARD = 128
CONTEXT = 4096

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# In a SentencePiece vocabulary a space is written as U+2581.
PRINTABLE = ["\N{LOWER ONE EIGHTH BLOCK}", *(chr(code) for code in range(0x21, 0x7F))]
# Not control tokens: a grammar can neither start nor be triggered at a control token.
MARKS = ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]
TOKENS = [*SPECIAL, *BYTES, *PRINTABLE, *MARKS]
END = "<|im_end|>"
NEWLINE = "<0x0A>"

# The mean logit of a token; those of printable characters are near 0.
NEVER = -12.0
HABITS = {
    **dict.fromkeys(SPECIAL, NEVER),
    **dict.fromkeys(BYTES, NEVER),
    **dict.fromkeys(MARKS, NEVER),
    END: 0.5,  # about one token in sixty
    "</think>": 3.0,  # about one in ten
    "\N{LOWER ONE EIGHTH BLOCK}": 2.0,
    '"': 1.0,
    "}": 1.0,
    "<": NEVER,  # noise shall not look like a mark
    "</tool_call>": 0.0,
    ",": -6.0,  # so that a call rather ends than is followed by another, where both are allowed
}
# What is added to it at the start of an answer: after a newline or the end of thinking.
STARTS = [NEWLINE, "</think>"]
AT_START = {"<tool_call>": -NEVER + 9.0}

CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n\\nYou may call one or more functions.\\n\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{%- endfor %}
{{- '\\n</tools>\\n\\nFor each call return a JSON object within tags:\\n<tool_call>' }}
{{- '{"name": <function-name>, "arguments": <args-json-object>}</tool_call><|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
{%- if message.reasoning_content %}
{{- '<think>' + message.reasoning_content + '</think>\\n\\n' }}
{%- endif %}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}
{%- if call.function %}{%- set call = call.function %}{%- endif %}
{{- '\\n<tool_call>{"name": "' + call.name + '", "arguments": ' }}
{{- (call.arguments if call.arguments is string else call.arguments | tojson) }}
{{- '}</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
{{- '<|im_start|>user' }}
{%- endif %}
{{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{{- '<think>\\n\\n</think>\\n\\n' if enable_thinking is false else '<think>' }}
{%- endif %}
"""


def write_model(path: Path) -> None:
    """Write the model to ``path``: 0.5 MB, within a second."""
    writer = gguf.GGUFWriter(str(path), "llama")
    _write_shape(writer)
    _write_tokens(writer)
    _write_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def _write_tokens(writer: gguf.GGUFWriter) -> None:
    types = {
        "<unk>": gguf.TokenType.UNKNOWN,
        "<s>": gguf.TokenType.CONTROL,
        "</s>": gguf.TokenType.CONTROL,
        **dict.fromkeys(BYTES, gguf.TokenType.BYTE),
        **dict.fromkeys(MARKS, gguf.TokenType.USER_DEFINED),
    }
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in TOKENS])
    writer.add_bos_token_id(TOKENS.index("<s>"))
    writer.add_eos_token_id(TOKENS.index(END))
    writer.add_unk_token_id(TOKENS.index("<unk>"))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    # With a space put before every text, "<tool_call>" at a grammar's start would not be a token.
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _write_weights(writer: gguf.GGUFWriter) -> None:
    random = numpy.random.default_rng(SEED)

    def noise(*shape: int, scale: float) -> numpy.ndarray:
        return random.normal(0.0, scale, shape).astype(numpy.float32)

    # Dimension 0 of the residual stream is as good as constant, and so carries each token's mean
    # logit; dimension 1 tells a start. The rest is noise of length 1 in all.
    embedding = noise(len(TOKENS), WIDTH, scale=1 / WIDTH**0.5)
    embedding[:, 0] = 1.0
    embedding[:, 1] = 0.0
    for token in STARTS:
        embedding[TOKENS.index(token), 1:] = 0.0
        embedding[TOKENS.index(token), 1] = 1.0
    # The final norm brings a vector of length sqrt(2) to length sqrt(WIDTH).
    unit = (WIDTH / 2) ** 0.5
    output = noise(len(TOKENS), WIDTH, scale=1 / unit)
    output[:, 0] = [HABITS.get(token, 0.0) / unit for token in TOKENS]
    output[:, 1] = [AT_START.get(token, 0.0) / unit for token in TOKENS]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, numpy.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        writer.add_tensor(name + "attn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        writer.add_tensor(name + "ffn_norm.weight", numpy.ones(WIDTH, numpy.float32))
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{name}{part}.weight", noise(WIDTH, WIDTH, scale=0.02))
        writer.add_tensor(name + "ffn_gate.weight", noise(FEED_FORWARD, WIDTH, scale=0.02))
        writer.add_tensor(name + "ffn_up.weight", noise(FEED_FORWARD, WIDTH, scale=0.02))
        writer.add_tensor(name + "ffn_down.weight", noise(WIDTH, FEED_FORWARD, scale=0.02))


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
