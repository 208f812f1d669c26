"""llama.cpp's own HTTP server over a GGUF file.

As a script it is the server: ``python llama_server.py MODEL PORT`` serves on the loopback
address until it is killed. It speaks OpenAI chat and Anthropic messages, both by itself.
"""

import signal
import sys
from pathlib import Path

from server_process import ServerProcess, free_port

SLOTS = 2
# Tokens for one call, prompt and answer. The tiny model has a token a character.
SLOT_CONTEXT = 1024
# Fixes what is drawn for a given prompt, so that a test that passes once passes always.
SEED = 1


def llama_server(model: Path, log: Path) -> ServerProcess:
    """The server over ``model``, to be used with ``with``."""
    port = free_port()
    return ServerProcess([sys.executable, __file__, str(model), str(port)], port, log)


def _serve(model: str, port: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.model.path = model
    params.model_alias = {"tiny"}
    params.n_ctx = SLOTS * SLOT_CONTEXT
    params.n_parallel = SLOTS
    params.use_jinja = True
    params.sampling.seed = SEED
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.warmup = False
    server = xllamacpp.Server(params)
    print("serving on", server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
