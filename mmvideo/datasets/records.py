"""Clips as TFDS examples, written and described without TensorFlow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.datasets.manifests.annotations import Annotations

UNKNOWN = -1
"""Class number of an unknown label; the only one in the list of a label type with several classes."""

VERSION = "1.0.0"
"""Version of the record layout in TFDS."""

FORMAT = "array_record"


def features(classes: Mapping[str, Sequence[str]], kinds: Annotations) -> Any:
    """Return the TFDS features of a clip.

    They are `id`, `media` (the encoded file), `suffix`, `captions`, `labels`, `tags` and `attributes` (JSON, with
    moments, saliency and events). An unknown label is -1, the only element for several classes, or NaN for a number.
    """
    import numpy as np
    from tensorflow_datasets import features as tf

    plain = {
        "id": tf.Text(),
        "media": tf.Tensor(shape=(), dtype=np.object_),
        "suffix": tf.Text(),
        "captions": tf.Sequence(tf.Text()),
        "tags": tf.Sequence(tf.Text()),
        "attributes": tf.Text(),
    }
    labels = {}
    for kind, names in classes.items():
        one = tf.ClassLabel(names=list(names))
        # TFDS stores class numbers; the names are in its text files.
        labels[kind] = tf.Sequence(one) if kind in kinds.several else one
    labels |= {kind: tf.Scalar(np.float32) for kind in kinds.number}
    if labels:
        plain["labels"] = tf.FeaturesDict(labels)
    return tf.FeaturesDict(plain)


class Serializer:
    """Serializer of clips to the bytes of `tf.train.Example`, the same bytes for the same clip in every run."""

    def __init__(self, classes: Mapping[str, Sequence[str]], kinds: Annotations) -> None:
        from tensorflow_datasets.core.example_serializer import ExampleSerializer

        self._kinds = kinds
        self._features = features(classes, kinds)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())

    def __call__(self, fact: Mapping[str, Any], media: bytes) -> bytes:
        """Return the record of a clip with its facts (see `clip_table.table_of`) and its encoded media."""
        example = {
            "id": fact["id"],
            "media": media,
            "suffix": fact["suffix"],
            "captions": list(fact["captions"]),
            "tags": list(fact["tags"]),
            "attributes": json.dumps(fact["attributes"], ensure_ascii=False),
        }
        if self._kinds.kinds:
            example["labels"] = self._labels(fact)
        proto = self._serializer.get_tf_example(self._features.encode_example(example))
        # Protocol buffers write maps in any order unless told otherwise.
        return proto.SerializeToString(deterministic=True)

    def _labels(self, fact: Mapping[str, Any]) -> dict[str, Any]:
        labels = {kind: fact["labels"][kind] for kind in self._kinds.single}
        for kind in self._kinds.several:
            numbers = fact["several"][kind]
            labels[kind] = [UNKNOWN] if numbers is None else numbers
        for kind in self._kinds.number:
            number = fact["numbers"][kind]
            labels[kind] = float("nan") if number is None else number
        return labels


class Example:
    """A record that `Serializer` wrote, read feature by feature.

    Args:
      record: its bytes.

    Raises:
      DecodeError: the bytes are no `tf.train.Example` (of protocol buffers).
    """

    def __init__(self, record: bytes) -> None:
        from tensorflow_datasets.proto import tf_example_pb2

        self._features = tf_example_pb2.Example.FromString(record).features.feature

    def values(self, name: str) -> Sequence[Any]:
        """Return the values of a feature: bytes or numbers.

        Raises:
          ValueError: there is no such feature.
        """
        kind = self._features[name].WhichOneof("kind") if name in self._features else None
        if kind is None:
            raise ValueError(f"it has no feature '{name}'")
        return getattr(self._features[name], kind).value

    def one(self, name: str) -> Any:
        """Return the value of a feature with exactly one.

        Raises:
          ValueError: it has none or several.
        """
        values = self.values(name)
        if len(values) != 1:
            raise ValueError(f"its feature '{name}' has {len(values)} values and not one")
        return values[0]

    def text(self, name: str) -> str:
        """Return the text of a feature."""
        return self.one(name).decode()

    def texts(self, name: str) -> list[str]:
        """Return the texts of a feature."""
        return [text.decode() for text in self.values(name)]

    def classes(self, name: str) -> list[int] | None:
        """Return the class numbers of a feature, None where they are unknown."""
        numbers = list(self.values(name))
        # [-1] means unknown, [] means known to have no class.
        return None if UNKNOWN in numbers else numbers


def dataset_name(name: str) -> str:
    """Return the nearest name that TFDS allows: lower-case letters, digits and underscores, a letter first."""
    name = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")
    return name if re.match(r"[a-z]", name) else f"clips_{name}".rstrip("_")


def shard_name(dataset: str, split: str, shard: int, shards: int) -> str:
    """Return the file name of a shard, as TFDS expects it."""
    return f"{dataset}-{split}.{FORMAT}-{shard:05d}-of-{shards:05d}"


def write_description(
    folder: Path,
    dataset: str,
    classes: Mapping[str, Sequence[str]],
    kinds: Annotations,
    splits: Mapping[str, tuple[list[int], int]],
) -> None:
    """Write `features.json`, the class names and `dataset_info.json`, with which TFDS reads the shards.

    Args:
      folder: output folder.
      dataset: name of the dataset.
      classes: class names by label type.
      kinds: the label types by sort.
      splits: for each split the number of clips in each of its shards, and the total bytes.
    """
    from tensorflow_datasets import core
    from tensorflow_datasets.core.dataset_info import DatasetIdentity

    identity = DatasetIdentity(name=dataset, version=core.Version(VERSION), data_dir=str(folder), module_name="")
    info = core.DatasetInfo(
        builder=identity,
        description="Clips of video and sound with captions and labels, written by mmvideo.",
        features=features(classes, kinds),
    )
    info.set_file_format(FORMAT)
    infos = []
    for split, (lengths, size) in splits.items():
        template = core.ShardedFileTemplate(data_dir=folder, dataset_name=dataset, split=split, filetype_suffix=FORMAT)
        infos.append(core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template))
    info.set_splits(core.SplitDict(infos))
    info.write_to_directory(folder)
