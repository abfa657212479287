"""Labels and weights in a table: which classes there are, how they are stored and weighted, what is rejected."""

from __future__ import annotations

import numpy as np
import pytest

from harness.config import DataConfig, Missing, Order, Scaling
from harness.data.class_tables import confusion_csv
from harness.data.classes import class_counts, class_names, class_weights
from harness.data.scaler import Scaler
from tests.tables import refusal, stored

LABELS = "a,y,w\n1,fir,2\n2,oak,0\n3,fir,4\n4,ash,2\n5,fir,2\n"


def test_classes_are_sorted_and_stored_as_indices(make_table) -> None:
    table = make_table(LABELS, categorical=["y"])
    (target,) = table.targets
    assert class_names(target) == ["ash", "fir", "oak"]
    assert (target.dtype, target.min, target.max) == ("int32", 0, 2)
    assert stored(table)[:, 1].tolist() == [1, 2, 1, 0, 1]
    assert class_counts(table, "train").tolist() == [1, 3, 1]
    assert confusion_csv(table, np.eye(3, dtype=int)) == "class,ash,fir,oak\nash,1,0,0\nfir,0,1,0\noak,0,0,1\n"


@pytest.mark.parametrize("order", Order)
def test_numbers_are_classes_in_their_order(make_table, order: Order) -> None:
    text = "a,y\n" + "".join(f"{row},{[10, 9, -1][row % 3]}\n" for row in range(30))
    (target,) = make_table(text, categorical=["y"], order=order).targets
    assert (target.categories, class_names(target)) == ((-1.0, 9.0, 10.0), ["-1", "9", "10"])


def test_given_classes_are_in_their_own_order_and_others_may_be_dropped(make_table) -> None:
    table = make_table(LABELS, categorical=["y"], classes=["oak", "fir"], missing=Missing.drop)
    assert class_names(table.targets[0]) == ["oak", "fir"]
    assert (stored(table)[:, 1].tolist(), table.dropped) == ([1, 0, 1, 1], 1)


@pytest.mark.parametrize("classes", [["True", "False"], ["true", "FALSE"]])
def test_true_and_false_can_be_named_in_any_case(make_table, classes: list[str]) -> None:
    table = make_table("a,y\n1,True\n2,False\n3,True\n4,True\n", categorical=["y"], classes=classes)
    assert class_names(table.targets[0]) == ["true", "false"]
    given = DataConfig(["a"], "y", class_weight={True: 5}).class_weight
    assert class_weights(table, given) == pytest.approx([5 / 4, 1 / 4])


def test_labels_of_rows_that_are_left_out_do_not_count(make_table) -> None:
    table = make_table(LABELS.replace("4,ash", ",ash"), categorical=["y"], missing=Missing.drop)
    assert (class_names(table.targets[0]), stored(table)[:, 1].tolist()) == (["fir", "oak"], [0, 1, 0, 0])
    alone = "a,y\n1,u\n,v\n"
    assert refusal(make_table, alone, categorical=["y"], missing=Missing.drop).startswith("y is u in every row;")


def test_why_rows_are_left_out(make_table) -> None:
    options = {"categorical": ["y"], "classes": ["fir", "oak"], "missing": Missing.drop}
    assert make_table(LABELS, **options).notes == (
        "data.missing=drop left out 20% of the rows; 20% have labels that are not in data.classes",
    )
    assert make_table(LABELS.replace("2,oak", ",oak") + "6,oak,1\n7,,1\n", **options).notes == (
        "data.missing=drop left out 43% of the rows; empty fields are in a (14%), y (14%), and 14% have labels that "
        "are not in data.classes",
    )


def test_the_order_of_a_file_matters_to_classes(make_table) -> None:
    rows = [f"{row},{['u', 'v'][row >= 500]}\n" for row in range(1000)]
    assert make_table("a,y\n" + "".join(rows), categorical=["y"]).drift == (
        "the classes of y are not spread evenly across the rows"
    )
    mixed = "a,y\n" + "".join(rows[:500][i] + rows[500:][i] for i in range(500))
    assert make_table(mixed, categorical=["y"]).drift == ""


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (LABELS, {"classes": ["fir", "oak"]}, "line 5: y is 'ash', not one of data.classes (fir, oak). Add it, or"),
        (LABELS.replace("ash", ""), {}, "line 5: y is empty. Set data.missing=drop."),
        ("a,y\n1,u\n2,u\n", {}, "y is u in every row; classification needs at least two labels."),
        (LABELS, {"classes": ["ash", "elm", "fir", "oak"]}, "y: no training row has the label elm. Leave it out of"),
    ],
)
def test_labels_are_refused(make_table, text: str, options: dict, sentence: str) -> None:
    assert sentence in refusal(make_table, text, categorical=["y"], **options)


def test_a_class_of_the_holdout_only_is_refused(make_table) -> None:
    text = "a,y\n" + "".join(f"{row},{'rare' if row == 7 else 'uv'[row % 2]}\n" for row in range(50))
    found = {make_or_refuse(make_table, text, seed) for seed in range(8)}
    assert found == {
        "",
        "y: no training row has the label rare. Name the other labels in data.classes and set data.missing=drop, or "
        "change data.split_seed or data.holdout.",
    }


def make_or_refuse(make_table, text: str, seed: int) -> str:
    options = {"categorical": ["y"], "holdout": 0.3, "split_seed": seed}
    try:
        make_table(text, **options)
    except ValueError:
        return refusal(make_table, text, **options)
    return ""


def test_weights_have_a_mean_of_one(make_table) -> None:
    table = make_table(LABELS, features=["a"], target="y", categorical=["y"], weight="w")
    scaler = Scaler.of(table, Scaling.standard, scale_target=False)
    assert scaler.apply(table.read("train", 0, 5))[-1].tolist() == [1, 0, 2, 1, 1]
    assert [column.name for column in table.columns] == ["a", "y", "w"]


def test_class_weights_are_balanced_or_given_and_have_a_mean_of_one(make_table) -> None:
    table = make_table(LABELS, categorical=["y"])
    assert class_weights(table, None) == []
    assert class_weights(table, "balanced") == pytest.approx([5 / 3, 5 / 9, 5 / 3])
    assert class_weights(table, {"oak": 6}) == pytest.approx([0.5, 0.5, 3])
    weighted = make_table(LABELS, categorical=["y"], weight="w")
    found = np.array(class_weights(weighted, {"fir": 2}))
    assert found[[1, 2, 1, 0, 1]] @ [1, 0, 2, 1, 1] / 5 == pytest.approx(1)
    assert found[1] == 2 * found[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,y,w\n1,2,1\n2,3,-1\n", "line 3: w is -1, but a weight must not be negative."),
        ("a,y,w\n1,2,1\n2,3,\n", "line 3: w is empty. Set data.missing=drop."),
        ("a,y,w\n1,2,0\n2,3,0\n", "data.weight: w is 0 in all training rows."),
    ],
)
def test_weights_are_refused(make_table, text: str, sentence: str) -> None:
    assert refusal(make_table, text, weight="w").endswith(sentence)


def test_class_weights_of_unknown_labels_are_refused(make_table) -> None:
    table = make_table(LABELS, categorical=["y"])
    assert refusal(lambda _: class_weights(table, {"elm": 2}), "") == (
        "data.class_weight: y has no label elm. It has: ash, fir, oak."
    )


def test_the_weights_of_classes_do_not_need_another_table(make_table, write) -> None:
    path = write(LABELS)
    tables = [make_table(path, categorical=["y"], class_weight=given) for given in (None, "balanced", {"oak": 2})]
    assert len({table.folder for table in tables}) == 1
