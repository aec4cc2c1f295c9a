"""dclust beside its peers in one run: K-means, PCA, mixtures, density, streams, cold starts.

    python -m benchmarks.clustering --data FOLDER [--only 'lloyd*'] [--quick] [--resume]

Each library sits in a process of its own; for each work all take turns, round after round, on the
same rows, threads and kind of BLAS kernels. Whoever took more than its share of seconds does not
begin again. Results are kept after each work as JSON, beside earlier ones of other works. The
table of all goes into README.md, plots into benchmarks/plots; `--only nothing` does just that.
`--data` has `fashion-mnist` and `near-duplicates` (photographs) in it. What is made from them,
and the environment of scikit-learn-intelex, is kept in `--cache`.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.agreement import compare
from benchmarks.data import Data
from benchmarks.page import page
from benchmarks.plots import draw
from benchmarks.readme import README, machine, put, today, versions
from benchmarks.seats import INTEL, Seats, core_type, pinned, seats
from benchmarks.work import Entrant, Work
from benchmarks.works import works

HERE = Path(__file__).parent
PACKAGES = (
    "dclust",
    "numpy",
    "scikit-learn",
    "faiss-cpu",
    "superkmeans",
    "dbscan",
    "dask-ml",
    "dask",
    "numba",
    "zarr",
)
MARK = "clustering"


def question(work: Work, entrant: Entrant, data: Data, turn: int, keep: Path | None) -> Any:
    """What a contender is asked."""
    name, n = entrant.x if entrant.x[0] else work.x
    x = data.rows(name, n) if name else Path()
    arrays = {}
    if kind := work.options.get("kind"):
        arrays = {part: str(path) for part, path in data.components(x, work.start, kind).items()}
    elif quantile := work.options.get("quantile"):
        arrays["eps"] = str(data.eps(x, work.options["least"], quantile))
    elif work.start:
        few = data.stream_start if name == "stream" else None
        arrays["start"] = str(few(work.start) if few else data.start(x, work.start))
    return {
        "call": entrant.call or work.call,
        "x": str(x),
        "shown": entrant.name,
        "options": {"seed": turn, **work.options, **entrant.options},
        "arrays": arrays,
        "keep": str(keep) if keep else None,
    }


def compete(work: Work, at: Seats, data: Data, folder: Path, repeats: int) -> dict[str, Any]:
    """Let all do a work in turn; what they took, and whether they agree."""
    at.keep({f"{e.library} {e.seat}".strip() for e in work.entrants})
    shutil.rmtree(folder, ignore_errors=True)
    result: dict[str, Any] = {e.name: {"runs": []} for e in work.entrants}
    if work.reference:
        asked = question(work, work.reference, data, 0, folder / "reference")
        at.ask(work.reference.library, "", asked)
    for turn in range(repeats):
        # Nobody is always the first, or always after the same one.
        shift = turn % len(work.entrants)
        for entrant in work.entrants[shift:] + work.entrants[:shift]:
            mine = result[entrant.name]
            spent = sum(run.get("whole", run["seconds"]) for run in mine["runs"])
            if "out" in mine or spent > work.patience:
                continue
            keep = folder / entrant.name if turn == 0 else None
            asked = question(work, entrant, data, turn, keep)
            answer = at.ask(entrant.library, entrant.seat, asked)
            if "seconds" in answer:
                mine["runs"].append({"turn": turn, **answer})
            else:
                mine["out"] = answer.get("absent") or f"failed: {answer['failed']}"
                print(f"  {entrant.name}: {mine['out']}", flush=True)
                if entrant is work.entrants[0]:
                    return result  # nothing of ours to compare with
    for entrant in work.entrants:
        mine = result[entrant.name]
        if mine["runs"]:
            middle = statistics.median(run["seconds"] for run in mine["runs"])
            print(f"  {entrant.name}: {middle:.3f} s, {len(mine['runs'])} runs", flush=True)
    compare(work, data.rows(*work.x) if work.x[0] else Path(), folder, result)
    return result


def read(path: Path, quick: bool) -> dict[str, Any]:
    """Earlier results, without those of works that have changed since."""
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    now = {w.name: (w.title, {e.name for e in w.entrants}) for w in works(quick)}
    same = {
        name: result
        for name, result in found["works"].items()
        if now.get(name) == (result["title"], set(result["entrants"]))
    }
    return found | {"works": same}


def same(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether conditions are alike; libraries that nobody had asked then do not matter."""
    known = {name: v for name, v in now["versions"].items() if name in then["versions"]}
    return then == now | {"versions": known}


def finished(work: Work, result: dict[str, Any] | None) -> bool:
    """Whether a work has a result in which ours did it and nobody failed."""
    if result is None or not result["entrants"][work.entrants[0].name]["runs"]:
        return False
    return not any(e.get("out", "").startswith("failed") for e in result["entrants"].values())


def save(path: Path, results: dict[str, Any]) -> None:
    """Written aside, then renamed."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(results, indent=1) + "\n")
    aside.rename(path)


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data, cache = os.environ.get("DCLUST_TEST_DATA"), Path("~/.cache/dclust/benchmarks")
    parser.add_argument("--data", type=Path, default=data, help="or DCLUST_TEST_DATA")
    parser.add_argument("--cache", type=Path, default=cache.expanduser())
    parser.add_argument("--only", action="append", help="a work, or a pattern; more than once")
    parser.add_argument("--list", action="store_true", help="name the works, and stop")
    parser.add_argument("--repeats", type=int, help="rounds of each work")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="few rows: does everything run?")
    parser.add_argument("--resume", action="store_true", help="leave out works that are done")
    parser.add_argument("--json", type=Path, help="results; earlier ones in it are kept")
    parser.add_argument("--readme", type=Path, help="the page to write into")
    parser.add_argument("--plots", type=Path, help="the folder for plots")
    given = parser.parse_args()
    if not given.data and not given.list:
        parser.error("say --data FOLDER, or set DCLUST_TEST_DATA")
    given.cache.mkdir(parents=True, exist_ok=True)
    given.json = given.json or (given.cache if given.quick else HERE) / "clustering.json"
    given.plots = given.plots or (given.cache if given.quick else HERE) / "plots"
    return given


def chosen(given: argparse.Namespace) -> list[Work]:
    """The works that are asked for."""
    found = works(given.quick)
    if given.only:
        return [w for w in found if any(fnmatch(w.name, pattern) for pattern in given.only)]
    return [w for w in found if not w.extra]


def main() -> None:
    """Run the works, and write what they gave."""
    given = arguments()
    picked = chosen(given)
    if given.list:
        print("\n".join(f"{w.name:22} {w.group:16} {w.title}" for w in picked))
        return
    # All processes that are started from here on share these cores and no more.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    conditions = {
        "machine": machine(),
        "versions": versions(PACKAGES) | {INTEL: pinned(INTEL)},
        "threads": given.threads,
        "core_type": core_type(),
        "quick": given.quick,
    }
    results = read(given.json, given.quick)
    if results and not same(results["conditions"], conditions):
        print(f"the results in {given.json} were made under other conditions: they are left out")
        results = {}
    results = {"works": {}} | results | {"conditions": conditions, "date": today()}
    data, begun = Data(Path(given.data), given.cache / "data"), time.monotonic()
    with seats(given.cache, given.threads) as at:
        for work in picked:
            if given.resume and finished(work, results["works"].get(work.name)):
                continue
            print(f"{work.name}: {work.title}", flush=True)
            folder = given.cache / "answers" / work.name
            try:
                done = compete(work, at, data, folder, given.repeats or work.repeats)
            except (OSError, ValueError) as fault:  # its rows or answers; other works have others
                print(f"  left out: {fault}", flush=True)
                continue
            results["works"][work.name] = {"title": work.title, "date": today(), "entrants": done}
            save(given.json, results)
            print(f"  {time.monotonic() - begun:,.0f} s so far", flush=True)
    everything = works(given.quick)
    drawn = draw(everything, results, given.plots)
    target = given.readme or (None if given.quick else README)
    text = page(everything, results, drawn, target.parent if target else given.plots)
    print(text)
    if target:
        put(text, MARK, target)


if __name__ == "__main__":
    main()
