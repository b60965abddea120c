"""What the answers of a search depend on, beside its problem: for the header of its journal."""

from __future__ import annotations

import hashlib
import inspect

from halve.auto.evaluators import evaluator_name
from halve.auto.job import Job
from halve.search_options import Validate
from halve.session.installed import describe_runtime
from halve.session.samples import Sample
from halve.source.contents import contents_digest

__all__ = ["dependencies"]


def dependencies(job: Job) -> dict[str, object]:
    """JSON values by name. The model's weights are read for it."""
    options = job.options
    tolerances = {"": options.tolerances.default, **options.tolerances.outputs}
    return {
        "model_hash": job.model.digest,
        "contents": contents_digest(job.model),
        "runtime": describe_runtime().version,
        "convert": job.plan.record()["options"],
        "blocked": [
            list(options.convert.op_block),
            list(options.convert.node_block),
            list(job.given_ids()),
        ],
        "sample_digests": [_of_sample(sample) for sample in job.samples],
        "tolerances": {name: repr(item) for name, item in sorted(tolerances.items())},
        "validate": None if options.validate is None else _of_function(options.validate),
        "threads_per_trial": options.threads_per_trial,
        "optimise": options.optimise,
        "evaluator": evaluator_name(options),
        "assume_fused": options.assume_fused,
        "provider": [options.provider, dict(options.provider_options)],
        "session_options": dict(options.session_options),
        "feedback": [list(pair) for pair in options.feedback],
    }


def _of_sample(sample: Sample) -> str:
    digest = hashlib.sha256()
    for part in (sample.inputs, sample.outputs or {}):
        for name, array in sorted(part.items()):
            digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            digest.update(array.tobytes())
        digest.update(b"/")
    return digest.hexdigest()


def _of_function(validate: Validate) -> list[str]:
    """Its name, and a digest of its source where there is one. What it calls is not looked at."""
    name = getattr(validate, "__qualname__", type(validate).__qualname__)
    place = f"{getattr(validate, '__module__', '')}.{name}"
    try:
        source = inspect.getsource(inspect.unwrap(validate))
    except (OSError, TypeError):  # made by exec or by C; or an object that is called
        source = ""
    return [place, hashlib.sha256(source.encode()).hexdigest()]
