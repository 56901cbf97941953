"""Graded exercises: derive a backward pass by hand, and have it checked.

    uv run python -m experiments.exercises list
    uv run python -m experiments.exercises write exercises
    uv run python -m experiments.exercises check exercises/01_sigmoid.py
    uv run python -m experiments.exercises solve 1

Every exercise is a file with a forward pass, a question and an empty backward pass. A
file is graded by `fnn.check_vjp` against the original forward pass, whatever the file
made of it, and what the checker finds becomes the hint.

One file of `problems` holds one exercise: its question, forward and solution, from which
the learner's file is cut, the block of fnn that does the same, and the usual mistakes.
"""

PROGRAM = "python -m experiments.exercises"
