import codecs
import time
from decimal import Decimal

import numpy as np
import pytest

from experiments.common import data, tables
from experiments.common.cli import DATA, DataError

HEAD = "a,b,kind\n"
BODY = "".join(f"{i},{i / 4 - 2},{'yx'[i % 2]}\n" for i in range(20))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.csv"


def table(path, text, target="kind", missing="error"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.csv(path, target, missing)


def failure(path, text, **how):
    with pytest.raises(DataError) as caught:
        table(path, text, **how)
    assert caught.value.code == DATA
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(str(path))


def everything(dataset):
    """All rows, sorted by their first number."""
    x, label = (np.concatenate(c) for c in zip(*dataset.parts().values(), strict=True))
    order = np.argsort(x[:, 0])
    return x[order], label[order]


def test_numbers_and_classes_are_read_and_shared_out(path):
    dataset = table(path, HEAD + BODY)
    assert (dataset.classes, dataset.columns, dataset.shape) == (("x", "y"), ("a", "b"), (2,))
    assert [len(rows.label) for rows in dataset.parts().values()] == [14, 2, 4]
    x, label = everything(dataset)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [[i, i / 4 - 2] for i in range(20)])
    np.testing.assert_array_equal(label, [1, 0] * 10)


def test_the_target_may_stand_anywhere_and_the_text_in_any_dress(path):
    x, label = everything(table(path, HEAD + BODY))
    rows = [line.split(",") for line in (HEAD + BODY).split()]
    turned = "".join(f'{kind}, "{a}" ,{b}\r\n\r\n' for a, b, kind in rows).replace('" ,', '",')
    for text in (
        turned.encode(),
        codecs.BOM_UTF8 + turned.encode(),
        turned.replace("\r\n", "\r").encode(),
        turned.rstrip().encode(),
    ):
        dataset = table(path, text)
        assert dataset.columns == ("a", "b")
        np.testing.assert_array_equal(everything(dataset)[0], x)
        np.testing.assert_array_equal(everything(dataset)[1], label)


@pytest.mark.parametrize(
    ("written", "read"),
    [("1e3", 1000), ("-.5", -0.5), ("+5.", 5), ("1E-2", 0.01), ("007", 7), ("1e-400", 0)],
)
def test_numbers_may_be_written_with_sign_point_and_exponent(written, read):
    assert tables.number(written) == read


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("nan", "leave a cell empty"),
        ("NA", "leave a cell empty"),
        ("?", "leave a cell empty"),
        ("inf", "write it as in -1.5e3"),
        ("-Infinity", "write it as in -1.5e3"),
        ("1e400", "numbers go up to 3.4e+38"),
        ("-3.5e38", "numbers go up to 3.4e+38"),
        ("1_000", "write it as in -1.5e3"),
        ("٣", "in the digits 0 to 9"),
        ("1２", "in the digits 0 to 9"),
        ('"3,5"', "write a decimal point"),
        ('"1,000"', "write a decimal point"),
        ("1 000", "write it as in -1.5e3"),
        ("0x10", "write it as in -1.5e3"),
        ("1e", "write it as in -1.5e3"),
        (".", "write it as in -1.5e3"),
        ("Bern", "write it as in -1.5e3"),
        ("true", "write it as in -1.5e3"),
        ("1\0", "write it as in -1.5e3"),
    ],
)
@pytest.mark.parametrize("missing", ["error", "drop", "mean"])
def test_cells_that_are_no_finite_numbers_are_refused_with_their_place(path, cell, remedy, missing):
    said = failure(path, f"{HEAD}{BODY}1,{cell},x\n", missing=missing)
    bare = cell.strip('"')
    assert said.startswith(f":22:2: 'b' must be a number, got {bare!r}; ")
    assert remedy in said


@pytest.mark.parametrize(
    ("row", "place"),
    [("1,2", ":22:3: 2 cells, the first line names 3."), ("1,2,x,3", ":22:4: 4 cells"),
     ("1,2,5,x", ":22:4: 4 cells"), (" ,", ":22:3: 2 cells"), ("1;2;x", ":22:2: 1 cells")],
)  # fmt: skip
def test_ragged_rows_are_refused(path, row, place):
    assert failure(path, f"{HEAD}{BODY}{row}\n").startswith(place)


def test_lines_are_counted_through_quoted_newlines_and_blank_lines(path):
    text = 'a,"b\nof two\r\nlines",kind\n' + BODY
    assert failure(path, text + "1,z,x\n").startswith(":24:2: 'b\\nof two\\r\\nlines' must")
    assert failure(path, f"{HEAD}\n\n{BODY}1,z,x\n").startswith(":24:2: ")
    turned = "kind,a\n" + "x,1\ny,2\n" * 9 + '"x\n\ny",z\n'
    assert failure(path, turned).startswith(":22:2: 'a' must be a number, got 'z'")
    said = failure(path, f'{HEAD}{BODY}1,"2,x\n3,4,y\n5,6,x\n')
    assert said.startswith(":22: unexpected end of data; look for a quote")
    assert failure(path, f'{HEAD}{BODY}1,"2"3,x\n').startswith(":22: ")
    assert failure(path, f'{HEAD}{BODY}1,"{"2" * 200_000}').startswith(":22: field larger than")


def test_empty_cells_are_an_error_unless_asked_otherwise(path):
    said = failure(path, f"{HEAD}{BODY},5,x\n")
    assert said.startswith(":22:1: 'a' is empty; --missing drop leaves such rows out")
    assert "--missing mean" in said
    for missing in ("error", "mean"):
        said = failure(path, f"{HEAD}{BODY}1,5,\n", missing=missing)
        assert said.startswith(":22:3: 'kind' is empty; --missing drop")
        assert "--missing mean" not in said


def test_drop_leaves_out_the_rows_with_empty_cells_and_no_others(path):
    dataset = table(path, f"{HEAD}1, ,x\n{BODY},,\n7,8,\n", missing="drop")
    for a, b in zip(everything(dataset), everything(table(path, HEAD + BODY)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_mean_fills_in_the_mean_of_the_training_rows_alone(path):
    rows = [(i, float(i**2), "xy"[i % 2]) for i in range(40)]
    holes = {3, 8, 13, 14, 21, 30, 35, 36}
    text = HEAD + "".join(f"{i},{'' if i in holes else b},{k}\n" for i, b, k in rows)
    dataset = table(path, text, missing="mean")
    known = [i for i in dataset.train.x[:, 0] if i not in holes]
    mean, of_all = np.mean(np.square(known)), np.mean([i**2 for i in range(40) if i not in holes])
    assert abs(mean - of_all) > 1
    for part in dataset.parts().values():
        filled = np.isin(part.x[:, 0], list(holes))
        assert filled.any()
        np.testing.assert_allclose(part.x[filled, 1], mean, rtol=1e-6)
        np.testing.assert_array_equal(part.x[~filled, 1], part.x[~filled, 0] ** 2)


def test_a_column_without_any_number_to_train_on_has_no_mean(path):
    text = HEAD + "".join(f"{i},,{'xy'[i % 2]}\n" for i in range(20))
    said = failure(path, text, missing="mean")
    assert said == ": 'b' is empty in all training rows; take the column out."


def test_numbers_name_classes_in_the_order_of_their_values():
    names, label = tables.classed(["10", "9", "-1", "9.0", "1e1", "09"])
    assert names == ("-1", "9", "10")
    assert label.tolist() == [2, 1, 0, 1, 2, 1]
    assert tables.classed(["10", "9", "b", "9.0"])[0] == ("10", "9", "9.0", "b")
    ids = [str(10**17 + i) for i in range(3)]  # alike in float64
    assert tables.classed(ids)[0] == tuple(ids)
    assert tables.exact("1e-400") == Decimal("1e-400")
    assert tables.classed([f"0e{10**20}", "0"])[0] == ("0", f"0e{10**20}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is empty: 0 bytes."),
        ("\n\n", ":1: 0 columns, at least 2 are needed"),
        ("1,2,3\n4,5,6\n", ":1: numbers only, where the names of the columns must stand."),
        ("kind\nx\n", ":1: 1 column, at least 2 are needed: numbers and classes."),
        ("a;b;kind\n1,5;2;x\n", ":1: 1 column, at least 2 are needed: numbers and classes; "
         "cells are separated by ',', not ';'."),
        (",a,kind\n0,1,x\n", ":1:1: this column has no name; name it, or take it out"),
        ("a,kind, a\n1,x,2\n", ":1:3: 'a' is column 1 too."),
        ("a,b,kinds\n", ":1: no column 'kind'. Did you mean kinds? It has a, b, kinds."),
        (HEAD, ", column 'kind': 0 rows; at least 12 are needed, two classes of 6."),
        (HEAD + "1,2,x\n", ", column 'kind': 1 row; at least 12"),
        (HEAD + "1,2,x\n" * 20, ", column 'kind': all 20 rows have the class 'x'"),
        (HEAD + BODY + "1,2,z\n", ", column 'kind': class 'z' has 1 of 21 rows"),
        ("a,kind\n" + "".join(f"1,{i / 7}\n" for i in range(50)),
         ", column 'kind': 50 different values in 50 rows. That looks like a number to be"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_classes_is_told(path, text, message):
    assert failure(path, text).startswith(message)


def test_other_encodings_are_told_with_line_and_offset(path):
    said = failure(path, f"{HEAD}{BODY}1,2,Zürich\n".encode("latin-1"))
    offset = len(HEAD + BODY) + len("1,2,Z")
    assert said.startswith(f":22: byte 0xFC at offset {offset} is not UTF-8; save")
    said = failure(path, codecs.BOM_UTF8 + f"{HEAD}\xfc".encode("latin-1"))
    assert said.startswith(f":2: byte 0xFC at offset {len(HEAD) + 3} is not")
    assert failure(path, (HEAD + BODY).encode("utf-16")).startswith(":1: byte 0xFF at offset 0")
    assert table(path, (HEAD + BODY).replace("y", "ü")).classes == ("x", "ü")


def test_a_missing_file_is_told_with_the_nearest(path):
    path.touch()
    with pytest.raises(DataError, match=r"no file .*tt\.csv\. Did you mean t\.csv\?"):
        tables.csv(path.with_name("tt.csv"), "kind")


def test_a_table_can_be_standardized_as_it_is(path):
    dataset = table(path, HEAD + BODY)
    z = data.Standardizer.of(dataset.train.x)(dataset.train.x)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-5)


def test_many_columns_are_read_in_a_moment_and_not_all_listed(path):
    names = [f"c{i}" for i in range(40_000)]
    began = time.perf_counter()
    said = failure(path, ",".join([*names, "c7"]) + "\n", target="c7")
    assert said == ":1:40001: 'c7' is column 8 too."
    said = failure(path, ",".join(names) + "\n", target="kind")
    assert said == ":1: no column 'kind'. It has c0, c1, c2, c3, c4, c5, c6, c7 and 39992 more."
    assert time.perf_counter() - began < 4


def test_names_that_steer_a_terminal_or_never_end_are_told_so_that_they_can_be_read(path):
    said = failure(path, "a\x1b[31m,b\x07,kind\n1,2,x\n", target="k")
    assert said == ":1: no column 'k'. It has a\\x1b[31m, b\\x07, kind."
    said = failure(path, f"a,{'b' * 9999},kind\n1,z,x\n")
    assert (
        said == f":2:2: '{'b' * 30} … {'b' * 10}' must be a number, got 'z'; write it as in -1.5e3."
    )
    assert len(failure(path, f"{'a' * 9999},{'b' * 9999}\n1,z\n", target="k")) < 1200
