"""What the chip does from reset to the REPL: modules, file system, boot.py, main.py."""
# mypy: ignore-errors
# ruff: noqa: F821

import gc
import os
import sys

import chip
import rom_esp
import rom_esp32
import rom_machine
import rom_network
import rom_os
import rom_socket
import rom_sys
import rom_time


def _install_modules():
    for name, module in (
        ("esp", rom_esp),
        ("esp32", rom_esp32),
        ("machine", rom_machine),
        ("network", rom_network),
        ("os", rom_os),
        ("socket", rom_socket),
        ("sys", rom_sys),
        ("time", rom_time),
    ):
        sys.modules[name] = module
        sys.modules["u" + name] = module
        module.__dict__["__name__"] = name
    for name in list(sys.modules):
        if name.startswith("rom_") or name in ("chip", "nor", "prng"):
            del sys.modules[name]
    sys.path[:] = ["", ".frozen", "/lib"]
    rom_sys.path = sys.path
    rom_sys.install()


def _mount():
    """Only `vfs` is mounted at `/`; a partition that fails to mount is never formatted."""
    os.umount("/")
    found = rom_esp32.Partition.find(rom_esp32.Partition.TYPE_DATA, label="vfs")
    if not found:
        rom_sys.stdout.write("no partition 'vfs' in the partition table\n")
        return False
    try:
        os.mount(os.VfsLfs2(found[0], mtime=False), "/")  # a time would be the host's
        os.chdir("/")
        return True
    except OSError as error:
        rom_sys.stdout.write("partition 'vfs' does not mount: %s\n" % error)
        return False


def _run(name, names):
    """Run a file of the image in the REPL's own names. False when it ended by an exception."""
    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, names)
    except SystemExit:
        rom_machine.soft_reset()
    except BaseException as error:
        rom_sys.print_exception(error)
        return False
    return True


def _finish_at_exit(names):
    """A soft reset ends by collecting all objects: littlefs commits files left open."""

    def finish():
        names.clear()
        gc.collect()

    rom_machine.before_soft_reset = finish
    rom_sys.atexit(finish)


def boot(names):
    mounted = _mount()
    _install_modules()
    _finish_at_exit(names)
    gc.collect()
    try:
        chip.tell("up")
        if mounted and _run("boot.py", names) and chip.config["run_main"]:
            _run("main.py", names)
    except KeyboardInterrupt:
        pass
    chip.tell("repl")
