"""Every case of every package, each package in a process of its own, with a limit per case."""

import importlib
import multiprocessing
import sys
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks.conformance.ask import Known, Result, ask
from benchmarks.conformance.case import Case
from benchmarks.conformance.cases import PACKAGES


def cases_of(package: str) -> list[Case]:
    """The cases of a package; imports it."""
    modules = [f"benchmarks.conformance.cases.{name}" for name in PACKAGES[package]]
    return [case for name in modules for case in importlib.import_module(name).cases()]


def everything(
    packages: tuple[str, ...],
    seconds: float,
    say: Callable[[str], None],
    *,
    match: tuple[str, ...] = (),
    known: Known | None = None,
    save: Callable[[list[Result]], None] = lambda results: None,
) -> list[Result]:
    """The results of the packages; one that cannot be imported has a single result that says so."""
    results: list[Result] = []
    for package in packages:
        for result in of_package(package, seconds, match, known or {}):
            results.append(result)
            say(line(result))
            save(results)
    return results


def of_package(package: str, seconds: float, match: tuple[str, ...], known: Known) -> Any:
    """The results of one package; a process that takes too long or dies is replaced."""
    process, pipe = started(package, known)
    try:
        names = pipe.recv()
        if isinstance(names, str):
            yield {"package": package, "name": "", "missing": names}
            return
        for i, name in enumerate(names):
            if match and not any(part in name for part in match):
                continue
            pipe.send(i)
            found = received(pipe, seconds)
            if isinstance(found, str):
                yield {"package": package, "name": name, "died": found}
                process.kill()
                process, pipe = started(package, known)
                pipe.recv()
                continue
            yield from found
    finally:
        process.kill()


def received(pipe: Any, seconds: float) -> list[Result] | str:
    """What a worker answers, or why it does not."""
    if not pipe.poll(seconds):
        return f"no answer within {seconds:g} s"
    try:
        return pipe.recv()
    except EOFError:
        return "the process died"


def started(package: str, known: Known) -> tuple[Any, Any]:
    """A worker for a package, and the pipe to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(package, there, known), daemon=True)
    process.start()
    there.close()
    return process, here


def work(package: str, pipe: Any, known: Known) -> None:
    """In the worker: send the names of the cases, then answer by number."""
    sys.argv = sys.argv[:1]  # packages that read the command line find nothing there
    try:
        cases = cases_of(package)
    except Exception as e:
        traceback.print_exc()
        pipe.send(f"{type(e).__name__}: {e}"[:300])
        return
    pipe.send([case.name for case in cases])
    while True:
        try:
            i = pipe.recv()
        except EOFError:
            return
        pipe.send(list(ask(package, cases[i], known)))


def line(result: Result) -> str:
    """A line while it runs."""
    if "truth" not in result:
        return f"{result['package']} {result['name']}: {result.get('missing') or result['died']}"
    others = ("truth", "fnn", "check_grads")
    told = ", ".join(f"{k} {result[k]['verdict']}" for k in others if k in result)
    took = sum(result[k]["seconds"] for k in others if k in result)
    plain = ", plain" if result["question"] != "own values" else ""
    return f"{result['name']}{plain}: {told} ({took:.1f} s)"
