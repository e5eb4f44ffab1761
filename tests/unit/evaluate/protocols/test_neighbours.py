"""The kNN protocol."""

from types import SimpleNamespace

import torch

from byol.evaluate.features import Features
from byol.evaluate.protocols.neighbours import knn
from byol.evaluate.protocols.options import KnnOptions, ProtocolOptions
from tests.unit.evaluate.blobs import blobs


def test_top_5_does_not_count_a_class_without_a_vote() -> None:
    (bank, _), (queries, _) = blobs(60), blobs(30)
    labels, truth = torch.arange(60) % 6, torch.arange(30) % 6
    alone = {"train": Features(bank, labels, torch.arange(60)), "test": Features(queries, truth, torch.arange(30))}
    job = SimpleNamespace(options=ProtocolOptions(knn=KnnOptions(1, 0.1)), budget="default", features=alone.get)
    found = knn(job).metrics  # pyright: ignore[reportArgumentType]
    assert found["top-1"] == found["top-5"] and found["top-1"].value < 100
