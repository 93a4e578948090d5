"""One thin module a command: `add_parser(sub)` and `run(args) -> exit code`."""
