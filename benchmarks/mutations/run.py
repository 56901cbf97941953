"""All jobs through worker processes, and through the Python that has torch."""

import functools
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.mutations.plan import Case, chosen_of, plan
from benchmarks.mutations.subjects import SUBJECTS
from benchmarks.mutations.work import Job, Result, answer

ROOT = Path(__file__).parent.parent.parent
DTYPES = ("float64", "float32", "bfloat16")
PEERS_EVERY = 4  # the peers are asked about every fourth mutant, and small unmutated blocks
CHUNK = 8  # jobs of one subject that a worker takes at once: they share what is compiled
GRADCHECK = "torch.autograd.gradcheck"


def jobs_of(only: tuple[str, ...], *, quick: bool, every: int = 1) -> list[Job]:
    """Every mutant and unmutated block, or every n-th, in an order that mixes the blocks."""
    mutants = [mutant_job(case) for case in plan(only, quick=quick)]
    jobs = mutants + rule_jobs(only, quick=quick) + clean_jobs(only, quick=quick)
    kept = sorted(jobs, key=mixed)[::every]
    return [{"id": i, "peers": quick or for_peers(job), **job} for i, job in enumerate(kept)]


def mixed(job: Job) -> int:
    """A number that has nothing to do with the job, and is always the same."""
    return zlib.crc32(json.dumps(job, sort_keys=True).encode())


def for_peers(job: Job) -> bool:
    """Whether the peers are asked too: they take most of the time."""
    if job["about"] == "mutant":
        return mixed(job) // 7 % PEERS_EVERY == 0
    return job["about"] == "clean" and job["level"] <= 1


def mutant_job(case: Case) -> Job:
    """A mutant by its place in the plan."""
    index = chosen_of(case.subject).index(case)
    return {"about": "mutant", "subject": case.subject, "index": index}


def rule_jobs(only: tuple[str, ...], *, quick: bool) -> list[Job]:
    """The optimizers' mutants."""
    from benchmarks.mutations.optimizers import RULES
    from benchmarks.mutations.rules import cases_of

    found = []
    for rule in RULES:
        if not only or rule.name.startswith(only):
            several = enumerate(cases_of(rule.name))
            indices = [i for i, case in several if not quick or case.level == 0]
            found += [
                {"about": "rule", "subject": rule.name, "index": i}
                for i in (indices[:2] if quick else indices)
            ]
    return found


def clean_jobs(only: tuple[str, ...], *, quick: bool) -> list[Job]:
    """Every unmutated block in every dtype, at several sizes, each with another seed."""
    from benchmarks.mutations.optimizers import RULES

    names = [(s, "clean") for s in SUBJECTS] + [
        (r.name, "clean rule") for r in RULES if r.other is not None
    ]
    levels = ((0, 0),) if quick else ((1, 2), (4, 3))
    return [
        {"about": about, "subject": name, "level": level, "dtype": dtype, "seed": seed}
        for name, about in names if not only or name.startswith(only)
        for level, seed in levels for dtype in (("float64",) if quick else DTYPES)
    ]  # fmt: skip


def prepare() -> None:
    """Set up a worker before JAX starts."""
    import jax

    jax.config.update("jax_enable_x64", True)


def chunks(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs of one subject together, a few at a time."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job["subject"], []).append(job)
    return [g[i : i + CHUNK] for g in groups.values() for i in range(0, len(g), CHUNK)]


def answers(jobs: list[Job], *, peers: bool) -> list[Result]:
    """One worker's share; its programs are forgotten, a process may hold only so many."""
    import jax

    found = [answer(job, peers=peers) for job in jobs]
    jax.clear_caches()
    return found


def judged(jobs: list[Job], workers: int, *, peers: bool = True) -> Iterator[Result]:
    """The answers, as they come."""
    if workers < 1:
        yield from answers(jobs, peers=peers)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, prepare, maxtasksperchild=20) as pool:
        ask = functools.partial(answers, peers=peers)
        for results in pool.imap_unordered(ask, chunks(jobs)):
            yield from results


def torch_python() -> str | None:
    """The Python that has torch: $FNN_TORCH_PYTHON, or this one if it can."""
    here = sys.executable if importlib.util.find_spec("torch") else None
    return os.environ.get("FNN_TORCH_PYTHON") or here


def gradchecked(jobs: list[Job], say: Callable[[str], None]) -> dict[int, dict[str, Any]]:
    """gradcheck's verdicts by id; none where there is no torch."""
    python = torch_python()
    asked = [job for job in jobs if job["about"] in ("mutant", "clean") and job["peers"]]
    if python is None:
        return {}
    found: dict[int, dict[str, Any]] = {}
    for share in shares(asked, 400):
        command = [python, "-m", "benchmarks.mutations.pytorch"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.run(
            command, input=json.dumps(share), capture_output=True, text=True,
            cwd=ROOT, env=environment, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        found |= {line.pop("id"): line for line in lines}
        if run.returncode:
            say(f"{GRADCHECK} stopped after {len(lines)} of {len(share)}: {run.stderr[-300:]}")
    return found


def shares(jobs: list[Job], n: int) -> list[list[Job]]:
    """At most n jobs in each."""
    return [jobs[i : i + n] for i in range(0, len(jobs), n)]


def everything(
    jobs: list[Job],
    workers: int,
    say: Callable[[str], None],
    *,
    peers: bool = True,
    save: Callable[[list[Result]], None] = lambda results: None,
) -> list[Result]:
    """All verdicts on all jobs, in the order of their ids; gradcheck comes last.

    What there is so far goes to `save` from time to time.
    """
    results: dict[int, Result] = {}
    for result in judged(jobs, workers, peers=peers):
        results[result["id"]] = result
        if len(results) % 50 == 0:
            say(f"{len(results)} of {len(jobs)}")
            save(list(results.values()))
    alive = [job for job in jobs if not results[job["id"]].get("equivalent")]
    if peers:
        verdicts = both_at_once(alive, max(1, workers), say)
        for i, verdict in verdicts.items():
            results[i]["verdicts"][GRADCHECK] = verdict
    return [results[job["id"]] for job in jobs]


def both_at_once(
    jobs: list[Job], workers: int, say: Callable[[str], None]
) -> dict[int, dict[str, Any]]:
    """gradcheck in as many processes as there are workers."""
    found: dict[int, dict[str, Any]] = {}
    parts = [jobs[i::workers] for i in range(workers)]
    threads = [
        threading.Thread(target=lambda part=part: found.update(gradchecked(part, say)))
        for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
