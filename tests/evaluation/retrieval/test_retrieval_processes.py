"""Two processes of two devices measure the same as one: all captions, re-ranked, and class names."""

from __future__ import annotations

import json
import pickle
import sys
import textwrap

import numpy as np
import pytest

from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.retrieval import RetrievalEvaluator
from mmvideo.evaluation.tasks.zero_shot import ZeroShotEvaluator

WORKER = """
    import functools, json, pickle, sys
    import jax
    from flax import nnx
    from mmvideo.evaluation.retrieval import device_search
    from mmvideo.evaluation.tasks.retrieval import RetrievalEvaluator
    from mmvideo.evaluation.runner import EvaluatedModel
    from mmvideo.evaluation.tasks.zero_shot import ZeroShotEvaluator
    from mmvideo.input.pipeline import Batches
    from mmvideo.input.device_put import device_put_batch
    from mmvideo.objectives.learner import Learner
    from mmvideo.parallel.config import Mesh
    from mmvideo.parallel.mesh import make_mesh
    from mmvideo.parallel.processes import initialize
    from mmvideo.parallel.rules import shardings

    device_search.WORTH = 0  # The devices of both search.
    number, count = initialize()
    mesh = make_mesh(Mesh(data=2, fsdp=2))
    with open(sys.argv[1], "rb") as file:
        config, model, objectives = pickle.load(file)
    batches = Batches(config, masked=False, train=False, process_index=number, process_count=count)
    build = lambda: Learner(model, batches.spec, objectives, rngs=nnx.Rngs(1))
    with jax.set_mesh(mesh):
        graph, abstract = nnx.split(nnx.eval_shape(build))
        state = jax.jit(lambda: nnx.state(build()), out_shardings=shardings(abstract, mesh))()
        subject = EvaluatedModel(nnx.merge(graph, state), functools.partial(device_put_batch, mesh=mesh))
        found = RetrievalEvaluator(batches, "shapes", "test", captions="all", rerank=4).run(subject)
        named = ZeroShotEvaluator(batches, ("visual",), "shapes", "test").run(subject)
    print(json.dumps([found.metrics, named.metrics, [row["ranks"] for row in found.predictions]]))
"""


@pytest.mark.slow(reason="starts two processes that compile")
def test_two_processes_measure_what_one_does(matcher, batches, config, tmp_path, launch):
    """Nine clips and 27 texts, which no batch of four rows divides; both processes have the same results."""
    (tmp_path / "run").write_bytes(pickle.dumps((config, matcher.trunk.config, matcher.objectives)))
    subject = EvaluatedModel(matcher)
    found = RetrievalEvaluator(batches, "shapes", "test", captions="all", rerank=4).run(subject)
    named = ZeroShotEvaluator(batches, ("visual",), "shapes", "test").run(subject)
    printed = launch([sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path / "run")])
    for metrics, others, ranks in (json.loads(lines[-1]) for lines in printed):
        assert ranks == [row["ranks"] for row in found.predictions]
        for own, other in ((found.metrics, metrics), (named.metrics, others)):
            assert own.keys() == other.keys()
            np.testing.assert_allclose([other[name] for name in own], list(own.values()), rtol=1e-9)
