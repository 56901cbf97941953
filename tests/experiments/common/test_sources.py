import jax
import numpy as np
import pytest

import fnn
from experiments.common import sources, tables
from experiments.common.checkpoints import Checkpoint
from experiments.common.cli import DATA, USAGE, DataError, UserError
from experiments.common.data import Dataset, Rows, Standardizer

NET = fnn.Serial(fnn.Dense(2, 3))


def dataset(classes="abc", columns=None, n=2):
    rows = Rows(np.zeros((4, n), np.float32), np.zeros(4, np.int32))
    fields = "rows", tuple(classes), (n,), rows, rows, rows
    return Dataset(*fields) if columns is None else tables.Table(*fields, columns=columns)


def check(saved, now, data="csv:b.csv"):
    statistics = Standardizer(np.zeros(2, np.float32), np.ones(2, np.float32))
    notes = {name: list(values) for name, values in sources.names_of(saved).items()}
    checkpoint = Checkpoint(NET, NET.init(jax.random.key(0)), statistics, notes | {"data": "csv:a"})
    sources.check_fit("f", checkpoint, data, now)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit",), "--data: unknown choice 'digit'. Did you mean digits? It takes digits, "
         "mnist:FOLDER or csv:FILE."),
        (("mnst:a",), "unknown choice 'mnst:a'. Did you mean mnist? It"),
        (("a/iris.csv", "kind"), "unknown choice 'a/iris.csv'. Did you mean csv:a/iris.csv?"),
        (("digits:a",), "unknown choice 'digits:a'. It takes"),
        (("mnist",), "unknown choice 'mnist'. It takes"),
        (("mnist:",), "--data mnist: names nothing to read."),
        (("csv:", "kind"), "--data csv: names nothing to read."),
        (("csv:a.csv",), "--data csv:a.csv needs --target COLUMN"),
        (("digits", "kind"), "--target belongs to --data csv:FILE, got --data digits."),
        (("mnist:a", "kind"), "--target belongs to --data csv:FILE"),
        (("digits", None, "mean"), "--missing belongs to --data csv:FILE"),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line_are_told_before_anything_is_read(arguments, message):
    with pytest.raises(UserError) as caught:
        sources.chosen(*arguments)
    assert caught.value.code == USAGE
    assert message in str(caught.value)


def test_files_are_looked_for_when_they_are_read_and_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("a,kind\n" + "1,x\n2,y\n" * 6)
    read = sources.chosen("csv:~/a.csv", "kind")
    assert read().classes == ("x", "y")
    for data, target in (("csv:~/b.csv", "kind"), ("mnist:~/b", None)):
        read = sources.chosen(data, target)
        with pytest.raises(DataError, match="there is no"):
            read()
    with pytest.raises(DataError, match="there is no folder ~nobody-of-this-name"):
        sources.chosen("csv:~nobody-of-this-name/a.csv", "kind")()
    assert sources.chosen("digits")().classes == tuple("0123456789")


def test_a_data_set_is_described_in_one_line():
    assert sources.described(dataset()) == (
        "4 train, 4 validation, 4 test rows of 2 numbers; 3 classes: a, b, c"
    )
    assert sources.described(dataset("abcdefghi")).endswith("9 classes: a, b, c, d, e, f, g, h, …")


def test_a_saved_network_fits_data_of_its_width_classes_and_columns_only():
    check(dataset(), dataset())
    table = dataset(columns=("u", "v"))
    check(table, table)
    wrong = {
        "f maps 2 numbers to 3; csv:b.csv needs 5 to 3. It was trained on": dataset(n=5),
        "f maps 2 numbers to 3; csv:b.csv needs 2 to 2.": dataset("ab"),
        "class 2 was 'b' in training, in csv:b.csv it is 'd'.": dataset("adc", ("u", "v")),
        "column 1 was 'u' in training, in csv:b.csv it is 'v'.": dataset(columns=("v", "u")),
    }  # fmt: skip
    for message, now in wrong.items():
        with pytest.raises(DataError) as caught:
            check(table, now)
        assert message in str(caught.value)
        assert caught.value.code == DATA


@pytest.mark.parametrize(
    ("notes", "size", "message"),
    [
        ({"classes": 3}, 2, "f: classes in its config must be a list, got 3."),
        ({"classes": [["a"], "b", "c"]}, 2, "class 1 was \"['a']\" in training"),
        ({"classes": ["a\x1b", "b", "c"]}, 2, r"class 1 was 'a\x1b' in training"),
        ({}, 5, "f has no network of numbers to classes: "),
    ],
)
def test_what_a_file_says_of_its_data_may_be_anything(notes, size, message):
    statistics = Standardizer(np.zeros(size, np.float32), np.ones(size, np.float32))
    checkpoint = Checkpoint(NET, NET.init(jax.random.key(0)), statistics, notes)
    with pytest.raises(DataError) as caught:
        sources.check_fit("f", checkpoint, "csv:b.csv", dataset())
    assert message in str(caught.value)


def test_classes_are_described_so_that_a_terminal_can_show_them():
    said = sources.described(dataset(["a\x1b[31m", "b" * 1000, "c"]))
    assert said.endswith(rf"3 classes: a\x1b[31m, {'b' * 30} … {'b' * 10}, c")
