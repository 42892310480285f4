"""Put deliberate faults into a copy of the package, one after another, and name the test that catches each.

Each fault is one that a hurried change could introduce: a mask off by one, a span that is too long, a lost clip, a
swapped label. A fault that no test catches is a hole in the tests; the program then exits with 1.

    python tools/mutations.py                       # all faults
    python tools/mutations.py --only "lost clip"    # those whose name contains the words
    python tools/mutations.py --marks "not slow"    # with the tests of tools/test.sh without --all

The tests of the fault's folder run with `-x`, so a fault costs only the time up to its first failing test.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault to put into the copy.

    Attributes:
      name: the fault in a few words.
      file: the file, below `mmvideo/`.
      right: text that the file contains exactly once.
      wrong: text that replaces it.
      tests: folders or files below `tests/` that must catch it.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: str


FAULTS = [
    Fault(
        "causal text sees one token too many",
        "stream.py",
        "end = jnp.where(is_causal, index + 1, end)",
        "end = jnp.where(is_causal, jnp.minimum(index + 2, length), end)",
        "model/fusion/test_gather.py model/fusion/test_fusion_stages.py model/transformer/test_kv_cache.py "
        "objectives/test_captioning.py",
    ),
    Fault(
        "span too long: the key after the end is seen",
        "model/attention/scores.py",
        "(index < spans[..., 1:])",
        "(index <= spans[..., 1:])",
        "model/attention/test_dispatch.py model/test_invariants.py",
    ),
    Fault(
        "a block of chunked attention masks by another block's place",
        "model/attention/chunked.py",
        "span_mask(spans - start, k.shape[1])",
        "span_mask(spans - jnp.maximum(start - 1, 0), k.shape[1])",
        "model/attention/test_dispatch.py model/attention/test_backends.py",
    ),
    Fault(
        "RMS norm by the mean in place of the root mean square",
        "model/layers/norm.py",
        "jnp.square(wide).mean(axis=-1, keepdims=True) + epsilon)",
        "jnp.abs(wide).mean(axis=-1, keepdims=True) + epsilon)",
        "model",
    ),
    Fault(
        "patches normalised by the biased variance",
        "objectives/losses/patch_targets.py",
        "/ max(parts.shape[-2] - 1, 1)",
        "/ max(parts.shape[-2], 1)",
        "objectives/test_masked.py",
    ),
    Fault(
        "contrastive loss of one direction in place of both",
        "objectives/losses/contrastive_losses.py",
        '"both": (forward + backward) / 2}[direction]',
        '"both": forward}[direction]',
        "objectives/losses/test_contrastive_losses.py",
    ),
    Fault(
        "one token more is hidden than is planned",
        "input/transforms/masking.py",
        "mask[rng.permutation(total)[:hidden]] = True",
        "mask[rng.permutation(total)[: hidden + (0 < hidden < total - 1)]] = True",
        "input",
    ),
    Fault(
        "lost clip: the last one of a source's epoch",
        "input/planning/epoch_plan.py",
        "return np.concatenate(orders)[skipped : skipped + count]",
        "return np.concatenate(orders)[skipped : skipped + max(count - 1, 1)]",
        "input",
    ),
    Fault(
        "rows and columns of a patch are swapped",
        "input/transforms/patchify.py",
        "return cut.transpose(0, 2, 4, 1, 3, 5, 6).reshape(steps * height * width, t * y * x * 3)",
        "return cut.transpose(0, 2, 4, 1, 5, 3, 6).reshape(steps * height * width, t * y * x * 3)",
        "input/transforms/test_patchify.py",
    ),
    Fault(
        "window of the spectrogram is symmetric in place of periodic",
        "media/spectrogram.py",
        "length if periodic else length - 1",
        "length - 1",
        "media/test_spectrogram.py",
    ),
    Fault(
        "swapped label: classes are read back in another order",
        "datasets/clip_table.py",
        "labels={kind: table.column(name).to_numpy().astype(np.int32) for kind, name in kinds(LABEL).items()},",
        "labels={kind: table.column(name).to_numpy()[::-1].astype(np.int32) for kind, name in kinds(LABEL).items()},",
        "datasets/test_corpus.py datasets/test_build.py",
    ),
    Fault(
        "missed digest: the highest bit of an element does not count",
        "training/checkpoint/checksums.py",
        "return jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32)",
        "return jax.lax.bitcast_convert_type(array, unsigned).astype(jnp.uint32) & np.uint32(0x7FFFFFFF)",
        "training",
    ),
    Fault(
        "a step that is not finite is applied",
        "training/step.py",
        "params=keep(params, state.params),",
        "params=params,",
        "training/test_step.py training/test_spike_guard.py",
    ),
    Fault(
        "weight decay pulls on biases and norms",
        "training/optimizer.py",
        '_words(path)[-1] == "kernel"',
        "len(_words(path)) > 0",
        "training/test_optimizer.py",
    ),
    Fault(
        "the rank of a query misses wrong entries that tie",
        "evaluation/retrieval/exact_search.py",
        "TIE = 1e-6",
        "TIE = -1e-6",
        "evaluation/retrieval/test_recall_at_k.py evaluation/retrieval/test_exact_search.py",
    ),
    Fault(
        "precision and recall change places",
        "evaluation/metrics/classification.py",
        "Counts(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1))",
        "Counts(confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))",
        "evaluation/metrics/test_classification.py",
    ),
    Fault(
        "a parameter is split over an axis that its mesh axis does not divide",
        "parallel/rules.py",
        "if ways == 1 or size % ways or used & set(wanted):",
        "if ways == 1 or used & set(wanted):",
        "parallel",
    ),
    Fault(
        "FLOPs of causal attention without the diagonal",
        "cost_model/attention_flops.py",
        "return free**2 + ordered * free + ordered * (ordered + 1) // 2",
        "return free**2 + ordered * free + ordered * (ordered - 1) // 2",
        "cost_model/test_attention_flops.py",
    ),
    Fault(
        "another tokenizer's embeddings are loaded",
        "experiment/weights/warm_start.py",
        "if text_tokens and source.assets.get(TOKENIZER) != assets.get(TOKENIZER):",
        "if False and source.assets.get(TOKENIZER) != assets.get(TOKENIZER):",
        "experiment/weights/test_warm_start.py",
    ),
    Fault(
        "an interval of 95 % on one side",
        "ablation/statistics.py",
        "stats.t.ppf((1 + LEVEL) / 2, count - 1)",
        "stats.t.ppf(LEVEL, count - 1)",
        "ablation/test_statistics.py",
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose name or file contains these words")
    parser.add_argument("--marks", default="not nightly", help="pytest's -m")
    arguments = parser.parse_args()
    chosen = [fault for fault in FAULTS if arguments.only in fault.name or arguments.only in fault.file]
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mmvideo"
        _copy(copy)
        for fault in chosen:
            caught = _caught_by(fault, copy, arguments.marks)
            print(f"{'caught' if caught else 'MISSED'}  {fault.file}: {fault.name}\n        {caught}", flush=True)
            missed += [] if caught else [fault.name]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} faults caught")
    return 1 if missed or not chosen else 0


def _copy(target: Path) -> None:
    """Copy the files that git tracks, as they are in the working tree."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in names.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _caught_by(fault: Fault, copy: Path, marks: str) -> str:
    """Return the first failing test while the fault is in the copy; an empty string if none fails.

    Raises:
      ValueError: the file does not contain the right text exactly once.
    """
    file = copy / "mmvideo" / fault.file
    before = file.read_text(encoding="utf-8")
    if before.count(fault.right) != 1:
        raise ValueError(f"{fault.file} holds {before.count(fault.right)} times, not once: {fault.right}")
    file.write_text(before.replace(fault.right, fault.wrong), encoding="utf-8")
    tests = [f"tests/{name}" for name in fault.tests.split()]
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", marks, *tests]
        done = subprocess.run(
            command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, capture_output=True, text=True
        )
    finally:
        file.write_text(before, encoding="utf-8")
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode} in {fault.tests}:\n{done.stdout[-2000:]}{done.stderr}")
    return found[0] if found else ""


if __name__ == "__main__":
    sys.exit(main())
