"""The steps themselves, wherever they are done. Bytes in, bytes out."""

from itertools import islice

import msgspec

from lmbroker import bounds, envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.capture.masking import masked_lines
from lmbroker.errors import BackendRefused, Broken, BrokerError, ErrorInfo, Refused
from lmbroker.offload.jobs import Done, Job, Problem
from lmbroker.secret import Secret
from lmbroker.workflows import estimate, second_dialect, workflow_for
from lmbroker.workflows.contract import Unary, Workflow

SHORT_FIELD = 4096
"""The maximum of bytes of a value of an envelope that is given back: routing and request limits
look at shorter ones only."""

FIELDS = 256
"""The maximum of such fields."""

_FAULT = ErrorInfo(kind="server", message="the broker failed to serve this call")
_MEMORY = ErrorInfo(kind="server", message="there was not enough memory")


def work(job: Job, body: bytes) -> tuple[Done, bytes]:
    """Do ``job``. Never raises but for a lack of memory: a problem is an answer, too."""
    try:
        return _step(job, body)
    except BackendRefused as error:
        status, native = error.native or (None, b"")
        problem = Problem(kind="backend_refused", info=error.info, phase=error.phase, native=status)
        return Done(problem=problem), native
    except Broken as error:
        return Done(problem=Problem(kind="broken", info=error.info, phase=error.phase)), b""
    except Refused as error:
        return Done(problem=Problem(kind="refused", info=error.info)), b""
    except MemoryError:
        return out_of_memory()
    except Exception:
        return fault()


def out_of_memory() -> tuple[Done, bytes]:
    """Return the result for a body that takes more memory than there is."""
    return Done(problem=Problem(kind="memory", info=_MEMORY)), b""


def fault() -> tuple[Done, bytes]:
    """Return the result for a mistake of ours."""
    return Done(problem=Problem(kind="fault", info=_FAULT)), b""


def _step(job: Job, body: bytes) -> tuple[Done, bytes]:
    if job.step == "envelope":
        head = envelope.read(body)
        if job.limits is not None:
            bounds.check_body(body, head.fields, job.limits, job.messages_field)
        short = (
            (name, bytes(raw))
            for name, raw in head.fields.items()
            if len(memoryview(raw)) <= SHORT_FIELD and len(name) <= SHORT_FIELD
        )
        fields = dict(islice(short, FIELDS))
        return Done(model=head.model, stream=head.stream, fields=fields), b""
    if job.step == "masked":
        return Done(), b"\n".join(masked_lines(body, job.secrets))
    assert job.call is not None
    if job.step in ("unary", "fold", "unfold"):
        assert job.asked is not None
        workflow = _workflow(job, job.call)
        workflow.recall(job.asked)
        whole: Unary = getattr(workflow, job.step)(body, now=job.now)
        return Done(unary=msgspec.structs.replace(whole, body=b"")), whole.body
    if job.step == "failure":
        raise _workflow(job, job.call).failure(job.status, job.headers, body)
    call = msgspec.structs.replace(job.call, body=body)
    if job.step == "request_limits":
        assert job.request_limits is not None
        job.request_limits.check(call)
        return Done(), b""
    if job.step == "estimate":
        return Done(tokens=estimate(call)), b""
    if job.step == "need":
        return Done(need=second_dialect.need(call, _target(job), job.overrides)), b""
    workflow = _workflow(job, call)
    outbound = workflow.outbound()
    if job.step == "repair":
        assert job.error is not None
        return Done(repair=workflow.repair(job.error)), b""
    done = Done(outbound=msgspec.structs.replace(outbound, body=b""), asked=workflow.asked())
    return done, outbound.body


def _workflow(job: Job, call: Call) -> Workflow:
    return workflow_for(call, _target(job), mode=job.mode, overrides=job.overrides)


def _target(job: Job) -> Target:
    backend = Backend(
        name=job.backend,
        url=job.url,
        dialect=job.dialect,
        also=job.also,
        also_translated=job.also_translated,
        omit_attribution=job.omit_attribution,
        passthrough_errors=job.passthrough_errors,
    )
    msgspec.structs.force_setattr(backend, "secrets", tuple(map(Secret, job.secrets)))
    return Target(backend=backend, model=job.model)


def raised(problem: Problem, body: bytes) -> BrokerError:
    """Return the error that ``problem`` was."""
    if problem.kind == "backend_refused":
        native = None if problem.native is None else (problem.native, body)
        return BackendRefused(problem.info, phase=problem.phase, native=native)
    if problem.kind == "broken":
        return Broken(problem.info, phase=problem.phase)
    refused = Refused(problem.info.kind, problem.info.message)
    refused.info = problem.info
    return refused
