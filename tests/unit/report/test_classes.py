"""The table of classes against leaving each image out."""

import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch.nn import functional

from byol.evaluate.knn import knn_predict
from byol.report.classes import class_table


def test_class_table_equals_leaving_each_image_out() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (60,), generator=generator)
    noise = torch.randn(60, 5, generator=generator)
    unit = functional.normalize(torch.eye(5)[labels] + 0.8 * noise)
    predicted = []
    for row in range(60):
        others = torch.arange(60) != row
        predicted.append(int(knn_predict(unit[others], labels[others], unit[row : row + 1], k=20)))
    table = class_table(unit, labels)
    assert table.confusion == confusion_matrix(labels, predicted).tolist()
    right = sum(p == int(label) for p, label in zip(predicted, labels, strict=True))
    assert table.score.value == pytest.approx(100 * right / 60, abs=1e-3)
    assert table.recall[1].value == pytest.approx(100 * table.confusion[1][1] / sum(table.confusion[1]), abs=1e-3)
    assert table.precision[1] == pytest.approx(100 * table.confusion[1][1] / sum(row[1] for row in table.confusion))


def test_class_table_of_many_classes_keeps_the_largest() -> None:
    labels = torch.cat((torch.arange(50), torch.arange(40)))
    table = class_table(functional.normalize(torch.eye(50)[labels] + 0.01), labels)
    assert table.classes == list(range(40))
    assert len(table.confusion) == len(table.confusion[0]) == 40
