"""Views made ahead, as on a GPU; a CPU's streams do nothing, so that the order of calls can be checked here."""

import contextlib
from collections.abc import Iterator

import torch

from byol.data.loader import Batch
from byol.engine.micro_batches import ahead, micro_batches
from byol.views.policy import T_PRIME, T
from byol.views.views import Views, pair

CPU = torch.device("cpu")


VIEWS = Views(pair(T, T_PRIME, 16), 8, seed=0)


def batches(count: int, asked: list[int]) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(0)
    for step in range(count):
        asked.append(step)
        images = torch.randint(256, (4, 3, 20, 20), generator=random).to(torch.uint8)
        yield Batch(step, 4 * (step % 2), images, False, torch.full((4,), step))


def test_views_made_ahead_are_those_made_when_asked_for() -> None:
    made, expected = list(ahead(batches(5, []), VIEWS, CPU)), list(micro_batches(batches(5, []), VIEWS, CPU))
    assert len(made) == 5
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one.views.view1, other.views.view1) and torch.equal(one.views.view2, other.views.view2)
        assert one.labels is not None and other.labels is not None and torch.equal(one.labels, other.labels)
    assert not torch.equal(made[0].views.view1, made[1].views.view1)


def test_one_micro_batch_is_made_ahead_on_a_gpu_and_none_elsewhere() -> None:
    for make, expected in ((ahead, [[0, 1], [0, 1, 2], [0, 1, 2]]), (micro_batches, [[0], [0, 1], [0, 1, 2]])):
        asked: list[int] = []
        seen = [list(asked) for _ in make(batches(3, asked), VIEWS, CPU)]
        assert seen == expected


def test_no_batches_no_views() -> None:
    assert list(ahead(batches(0, []), VIEWS, CPU)) == []


def test_views_and_training_wait_for_each_other(monkeypatch) -> None:
    """The views' stream waits for what is queued, the training for the views; neither for what comes later."""
    told: list[str] = []

    class Stream:
        def __init__(self, name: str = "views") -> None:
            self.name = name

        def wait_stream(self, other: "Stream") -> None:
            told.append(f"{self.name} wait for {other.name}")

        def wait_event(self, event: str) -> None:
            told.append(f"{self.name} waits for {event}")

        def record_event(self) -> str:
            told.append("views are queued")
            return f"views {told.count('views are queued')}"

    class Streams:
        Stream: type
        current_stream = staticmethod(lambda: Stream("training"))
        stream = staticmethod(contextlib.nullcontext)

    Streams.Stream = Stream
    monkeypatch.setattr(torch, "get_device_module", lambda device: Streams)
    for number, _ in enumerate(ahead(batches(2, []), VIEWS, CPU), start=1):
        told.append(f"step {number}")
    first, second = "training waits for views 1", "training waits for views 2"
    waits = "views wait for training"
    assert [line for line in told if line != "views are queued"] == [
        waits,
        waits,
        first,
        "step 1",
        waits,
        second,
        "step 2",
    ]
