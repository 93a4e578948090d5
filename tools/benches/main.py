"""tools/bench NAME [--json] [--quick]: run a benchmark, print a table or JSON."""

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names():
    """Benchmarks: the modules beside this one that have run() and table()."""
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.stem != "main" and "def table(" in path.read_text()
    )


def main():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--quick", action="store_true", help="a small form, where there is one")
    args = parser.parse_args()
    sys.path.insert(0, str(HERE))
    bench = importlib.import_module(args.name)
    has_quick = "quick" in inspect.signature(bench.run).parameters
    result = bench.run(quick=args.quick) if has_quick else bench.run()
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        bench.table(result)


if __name__ == "__main__":
    main()
