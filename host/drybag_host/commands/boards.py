"""`drybag boards`: the boards Drybag knows, and the check of their files."""


def add_parser(sub):
    parser = sub.add_parser(
        "boards",
        help="list the boards Drybag knows and check their files",
        description="List the boards Drybag knows, each a file in boards/, and check them: sizes, "
        "alignment, overlaps, limits of the chip.",
        epilog="example:\n  drybag boards\n  drybag boards ./my-board.toml\n",
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="board files to check instead of Drybag's own"
    )


def run(args):
    from drybag_host.board_errors import BoardFileError
    from drybag_host.image import board_model

    models, problems = [], []
    for path in args.files or board_model.board_files():
        try:
            model = board_model.load_file(path)
        except BoardFileError as error:
            problems.append(str(error))
            continue
        models.append(model)
        problems += board_model.problems(model)
    args.out.document({"boards": [_facts(model) for model in models], "problems": problems})
    args.out.table(
        "Boards",
        ("name", "what it is", "chip", ">flash", ">heap", ">vfs", ">pim"),
        [
            (
                model.name,
                model.title,
                model.chip,
                "%d MiB" % model.flash_mib,
                "%d KiB" % model.heap_kib,
                _partition_size(model, "vfs"),
                _partition_size(model, "pim"),
            )
            for model in models
        ],
    )
    if problems:
        raise BoardFileError("\n".join(problems), "correct the named files", problems=problems)


def _partition_size(model, label):
    return "".join("%d KiB" % (p.size // 1024) for p in model.partitions if p.label == label)


def _facts(model):
    return {
        "name": model.name,
        "file": str(model.file),
        "title": model.title,
        "chip": model.chip,
        "flash_bytes": model.flash_bytes,
        "heap_kib": model.heap_kib,
        "psram_kib": model.psram_kib,
        "bootloader_offset": model.bootloader_offset,
        "usb": [{"vid": vid, "pid": pid, "name": name} for vid, pid, name in model.usb],
        "partitions": [row._asdict() for row in model.partitions],
    }
