import ast
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import fnn
from experiments.exercises import files, grading, hints
from experiments.exercises.__main__ import main
from experiments.exercises.catalog import EXERCISES
from experiments.exercises.exercise import LEVELS
from experiments.exercises.grading import Task, grade, pairs

EMPTY = "    raise NotImplementedError\n"


def written(folder, number, body=None):
    """An exercise's file, with an answer."""
    name, exercise = list(EXERCISES.items())[number - 1]
    text = files.text(name, exercise)
    assert text.endswith(EMPTY)
    if body is not None:
        text = text.removesuffix(EMPTY) + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
    path = folder / "mine.py"
    path.write_text(text)
    return path


def solved(exercise):
    """The body of the solution."""
    source = grading.solution(exercise)
    first = ast.parse(source).body[0].body[1].lineno
    return "\n".join(source.splitlines()[first - 1 :])


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, len(EXERCISES) + 1))
def test_every_solution_is_right_and_every_empty_file_is_not_written_yet(tmp_path, number):
    assert grade(written(tmp_path, number)).state == "not written yet"
    exercise = list(EXERCISES.values())[number - 1]
    assert grade(written(tmp_path, number, solved(exercise))) == (
        list(EXERCISES)[number - 1], "right", (),
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", EXERCISES)
def test_every_solution_is_what_fnn_computes_and_no_usual_mistake_is(name):
    exercise, told = EXERCISES[name], set()
    with jax.enable_x64(True):
        for case in exercise.cases:
            args = Task(exercise, case).example()
            right = pairs(exercise, exercise.library(*args))
            for leaf, value in pairs(exercise, exercise.solution(*args)).items():
                assert value.shape == right[leaf].shape
                assert abs(value - right[leaf]).max() <= 1e-12 * abs(right[leaf]).max()
            for mistake in exercise.mistakes:
                value = mistake.wrong(*args)
                if not hints.equal(value, right[mistake.leaf]):
                    told.add(hints.recognised(exercise, mistake.leaf, value, args))
    assert told == {mistake.hint for mistake in exercise.mistakes}


SLIPS = [
    (1, "return dy * (1 - forward(x))", "No simple slip"),
    (1, "return jnp.exp(-x) / (1 + jnp.exp(-x))", "whatever dy is"),
    (1, "return -dy * forward(x) * (1 - forward(x))", "a minus"),
    (2, "return dy * (1 - jnp.tanh(y) ** 2)", "another tanh"),
    (3, "return dy**2 * x", "twice the dy"),
    (4, "return dy * jnp.exp(x) / (1 + jnp.exp(x))", "Divide both by eˣ"),
    (5, "return dl * (y - target)", "2 and the 1/N are missing"),
    (6, "return dy.T @ x", "transposed"),
    (7, "return dy @ w.T, dy", "add up dy over the examples"),
    (8, "return dy @ w.T, x.T @ dy, dy.sum(0)", "with x [2, 5, 3], w [3, 4]"),
    (
        8,
        "return dy @ w.T, x.swapaxes(-1, -2) @ dy, dy.sum(0)",
        "not over the first alone",
    ),
    (9, "y = forward(x)\nreturn dy * y * (1 - y)", "lowers the others"),
    (10, "return x, scale, dy", "add up dy over the rows"),
    (11, "return dl[:, None] * (y - t)", "logits, not probabilities"),
    (12, "return 0 * y", "anything of dl arrive"),
    (
        13,
        "h = jnp.tanh(x @ w1 + b1)\ndz = dy @ w2.T\n"
        "return x.T @ dz, dz.sum(0), h.T @ dy, dy.sum(0)",
        "Multiply by its derivative",
    ),
    (
        14,
        "dz = dy * (1 - jnp.tanh(x @ w + b) ** 2)\nreturn dz @ w.T, x.T @ dz, dz.sum(0)",
        "way around",
    ),
    (
        15,
        "m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2\n"
        "return -LEARNING_RATE * m / (jnp.sqrt(v) + EPS), m, v",
        "correction is missing",
    ),
    (16, "return table.at[ids].add(dy)", "Begin with zeros"),
]


@pytest.mark.long
@pytest.mark.parametrize(("number", "body", "phrase"), SLIPS)
def test_a_slip_is_wrong_and_gets_a_fitting_hint(tmp_path, number, body, phrase):
    result = grade(written(tmp_path, number, body))
    assert result.state == "wrong"
    assert phrase in "\n".join(result.lines)


@pytest.mark.long
def test_a_lost_sign_in_the_lstm_gets_a_fitting_hint(tmp_path):
    body = solved(EXERCISES["17_lstm"])
    slip = body.replace("dz.sum(0)", "-dz.sum(0)")
    assert slip != body
    assert "Only the sign is wrong" in "\n".join(grade(written(tmp_path, 17, slip)).lines)


@pytest.mark.long
def test_a_forgotten_root_in_attention_gets_a_fitting_hint(tmp_path):
    body = solved(EXERCISES["18_attention"])
    slip = body.replace("(dq, dk, dv)", "(dq * q.shape[-1] ** 0.5, dk, dv)")
    assert slip != body
    assert "divided by √n" in "\n".join(grade(written(tmp_path, 18, slip)).lines)


TROUBLES = [
    ("return dy * forwrd(x)", ["line 25: return dy * forwrd(x)", "NameError", "x [5, 3], dy"]),
    ("return dy *", ["line 25: return dy *", "SyntaxError"]),
    ("return dy @ dy", ["line 25: return dy @ dy", "TypeError", "dy [5, 3]"]),
    ("return dy if (x > -9).all() else x", ["line 25: return dy if", "jnp.where takes the place"]),
    ("return None", ["returns nothing"]),
    ("return jnp.add(dy, object())", ["line 25: return jnp.add", "TypeError"]),
    ("return dy, dy", ["not a tuple of 2"]),
    ("return dy.sum(0)", ["dx must have shape [5, 3], got [3]", "shape of what"]),
]


@pytest.mark.parametrize(("body", "phrases"), TROUBLES)
def test_code_that_fails_is_told_short_with_its_line(tmp_path, body, phrases):
    result = grade(written(tmp_path, 1, body))
    assert result.state == "wrong"
    assert len(result.lines) <= 3
    assert all(phrase in "\n".join(result.lines) for phrase in phrases)


def test_a_wrong_number_of_values_is_told(tmp_path):
    (line,) = grade(written(tmp_path, 7, "return dy @ w.T")).lines
    assert line == "return 2 values, dx, db; got one value."


def test_values_in_another_order_are_told(tmp_path):
    body = solved(EXERCISES["07_dense_bias"]).replace("dy @ w.T, dy.sum(0)", "dy.sum(0), dy @ w.T")
    assert grade(written(tmp_path, 7, body)).lines[-1] == "hint: return dx, db."


RIGHT = [
    (3, "return dy * (x >= 0)"),
    (16, "return jnp.zeros(table.shape).at[ids].add(dy.astype(float))"),
]


@pytest.mark.parametrize(("number", "body"), RIGHT)
def test_another_way_to_write_it_is_right_too(tmp_path, number, body):
    assert grade(written(tmp_path, number, body)).state == "right"


def test_a_changed_forward_does_not_make_a_wrong_backward_right(tmp_path):
    path = written(tmp_path, 1, "return 2 * dy")
    path.write_text(path.read_text().replace("return 1 / (1 + jnp.exp(-x))", "return 2 * x"))
    result = grade(path)
    assert result.state == "wrong"
    assert "not the original" in result.lines[-1]


def test_check_ends_with_0_where_all_is_right_and_with_1_otherwise(tmp_path, capsys):
    right = written(tmp_path, 1, solved(EXERCISES["01_sigmoid"])).rename(tmp_path / "right.py")
    empty = written(tmp_path, 2)
    assert main(["check", str(right)]) == 0
    assert capsys.readouterr().out == (
        "right.py: right\n    fnn has it in fnn/layers/activations.py\n"
    )
    assert main(["check", str(right), str(empty)]) == 1
    assert capsys.readouterr().out.endswith("1 right, 0 wrong, 1 not written yet\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("x = 1\n", "no line EXERCISE"),
        ('EXERCISE = "01_sigmoyd"\n', "Did you mean 01_sigmoid?"),
    ],
)
def test_a_missing_or_foreign_file_is_a_usage_error(tmp_path, capsys, text, message):
    path = tmp_path / "a.py"
    if text is not None:
        path.write_text(text)
    assert main(["check", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_write_makes_a_file_of_every_exercise_and_never_overwrites_one(tmp_path, capsys):
    mine = tmp_path / "05_mean_squared_error.py"
    mine.write_text("my work")
    assert main(["write", str(tmp_path)]) == 0
    assert mine.read_text() == "my work"
    assert "1 were there and stay: 05_mean_squared_error.py" in capsys.readouterr().out
    assert {p.stem for p in tmp_path.iterdir()} == set(EXERCISES)
    before = {p: p.read_text() for p in tmp_path.iterdir()}
    assert main(["write", str(tmp_path)]) == 0
    assert before == {p: p.read_text() for p in tmp_path.iterdir()}


def test_a_written_file_stands_alone_and_tells_no_answer(tmp_path):
    main(["write", str(tmp_path)])
    for path in tmp_path.iterdir():
        tree = ast.parse(path.read_text())
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(n) for n in imports] == ["import jax.numpy as jnp"]
        exec(compile(tree, str(path), "exec"), {"jnp": jnp})
        assert ast.unparse(tree.body[-1].body[-1]) == "raise NotImplementedError"
        assert max(map(len, path.read_text().splitlines())) <= 100


def test_list_names_every_exercise_under_its_level(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.split() if line in EXERCISES] == list(EXERCISES)
    assert all(f"level {level}: {name}" in out for level, name in LEVELS.items())
    levels = [exercise.level for exercise in EXERCISES.values()]
    assert levels == sorted(levels)


@pytest.mark.parametrize("number", range(1, len(EXERCISES) + 1))
def test_solve_prints_derivation_and_solution_and_names_a_file_that_exists(number, capsys):
    exercise = list(EXERCISES.values())[number - 1]
    assert main(["solve", str(number)]) == 0
    out = capsys.readouterr().out
    assert exercise.derivation in out
    assert grading.solution(exercise) in out
    if exercise.file:
        assert f"in fnn: {exercise.file}" in out
        assert (Path(fnn.__file__).parents[1] / exercise.file).is_file()


def test_solve_refuses_a_number_that_is_none(capsys):
    assert main(["solve", "19"]) == 2
    assert "they are 1 to 18" in capsys.readouterr().err


def test_every_kind_of_finding_has_a_hint():
    exercise = EXERCISES["13_two_layers"]
    for kind in hints.HINTS:
        hint = hints.general(exercise, "dw1", kind)
        assert "{" not in hint
        assert hint.endswith((".", "?"))
