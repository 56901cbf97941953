"""What happens to a run, its files and its commands when everything goes wrong, in figures.

    uv run python -m benchmarks.faults [--quick] [--only kills damage]

A program tries one kind of fault as often as it is told, and counts what came of it; what must not
happen is listed. The tests in tests/faults run the same programs, a few times each; README.md says
what the long ones showed.

    kills       kill −9 at any moment, and at every call that writes
    signals     SIGINT and SIGTERM, once and twice, at any moment
    resumes     a run that is stopped and goes on is the straight one, SHA-256 of everything
    rows        the same with 1 to 17 rows
    damage      every bit, every end, anything behind it
    refusals    every call that writes refused once, or from then on; the folder gone
    fuzz        what readers make of inputs that nobody wrote
    twice       the same command twice
    steady      many steps, and what has grown
"""
