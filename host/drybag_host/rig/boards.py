"""`drybag rig run --target`: a campaign on one board, its Report, and what is said of it."""

import contextlib
import random
import tempfile
import time
from pathlib import Path

from drybag.errors import DrybagError
from drybag_host.errors import HostError, Usage
from drybag_host.output import count_text, duration_text
from drybag_host.rig import boards_options
from drybag_host.rig.board_keep import Keeper, kept_folder
from drybag_host.rig.board_run import BoardRun, MountLost
from drybag_host.rig.errors import CannotJudge
from drybag_host.rig.exposure import exposure
from drybag_host.rig.results import Failure, NotJudged, Report, SectorResult, WorkloadResult
from drybag_host.rig.tap import AT_RANDOM, HOWS

SECTOR_BYTES = 4096
DEFAULT_CUTS = 100
UNKNOWN = "not known (erase or program, a request was under way)"
_BOUND = 3.0  # -ln 0.05: the "rule of three"


def bound_text(count):
    """What `count` clean cuts at random moments say, and what they do not."""
    if count < 4:
        return "%s at random moments: too few to bound anything" % count_text(count, "clean cut")
    return (
        "%d clean cuts at random moments: with 95 %% confidence fewer than %.2g %% of such cuts "
        "(3/%d) lose something" % (count, 100 * _BOUND / count, count)
    )


def run_command(args):
    """The campaign that the command line asks for: (Report, exit code).

    Prints the summary and writes --report, whatever ends the campaign; then raises what ended
    it early: CannotJudge, SwitchFailed, NotSwitching (all exit 3), KeyboardInterrupt; Usage.
    """
    if not args.target or not args.power:
        raise Usage(
            "a board's campaign needs --target and --power",
            "drybag rig run --target emu:demo --power emu --cuts 20; drybag rig switches",
        )
    for name in boards_options.FLASH_ONLY:
        if getattr(args, name, None):
            raise Usage("--%s is for the emulated flash: it does not go with --target" % name)
    seed = random.SystemRandom().randrange(1, 1 << 31) if args.seed is None else args.seed
    with _Bench(args, seed) as bench:
        bench.run()
        bench.end()
    return bench.report, bench.report.exit_code()


class _Bench:
    """A board and its switch, opened, and at the end left with power as it was found."""

    def __init__(self, args, seed):
        self.args = args
        self.out = args.out
        self.report = Report(run={"what": "board", "subject": args.target, "seed": seed})
        self.stopped_by = None
        self._started = time.monotonic()
        self._stop_at_end = None
        self._left = ""
        with _as_cannot_judge():
            self._open(args, seed)

    def _open(self, args, seed):
        from drybag_host import power
        from drybag_host.board import open_console
        from drybag_host.targets import resolve

        self.target = resolve(args.target)
        self.switch = power.open_switch(args.power, self.target, args.power_config)
        if self.switch.reset_only and not args.reset_is_enough:
            self.switch.close()
            raise Usage(
                "the switch '%s' is EN of the board itself: a reset, and the flash keeps its power"
                % args.power,
                "put a switch into the supply (drybag rig switches); --reset-is-enough takes the "
                "reset, which tests the firmware's recovery and nothing of the flash",
            )
        if self.switch.reset_only and "://" in self.target:
            self.switch.close()
            raise Usage(
                "%s serves one program at a time, and the reset would need it twice" % self.target,
                "use the port where it is plugged in",
            )
        self._emulated(self.target)
        self.run_ = BoardRun(
            lambda: open_console(self.target), self.switch, seed, args.boot_timeout,
            self._keeper(args.target, seed),
        )  # fmt: skip

    def _keeper(self, target, seed):
        """What keeps the flash of a bad moment; of an emulated board in this run's power."""
        known = self.switch.knows_commands and self._board is not None
        self._folder = tempfile.TemporaryDirectory(prefix="drybag-rig-")
        trace = Path(self._folder.name) / "trace"
        if known:
            self.switch.trace = trace
        return Keeper(target, seed, self._board if known else None, trace)

    def _emulated(self, target):
        """What is known of an emulated board only."""
        self._board = self._pim = None
        if target.startswith("qemu:"):
            from drybag_host.board.qemu import QemuBoard

            board = QemuBoard(target[5:])
            self._stop_at_end = None if board.is_running else board
        if target.startswith("emu:"):
            from drybag_host.emulator.boards import EmulatedBoard
            from drybag_host.image import partitions

            self._board = EmulatedBoard(target[4:])
            self._board.check_image()
            self._pim = partitions.find(partitions.from_image(self._board.image), "pim")
            self._counters = self._board.counters
            self._stop_at_end = None if self._board.is_running else self._board

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.switch.trace = None
        with contextlib.suppress(HostError, OSError):
            if self.switch.knows_commands:
                self.switch.off()  # a cut may still be armed, and its trace goes with the folder
            self.switch.on()
        self.switch.close()
        self._folder.cleanup()
        if self._stop_at_end is not None and self._stop_at_end.is_running:
            self._stop_at_end.stop()
        return False

    # -- the campaign ---------------------------------------------------------------------------
    def run(self):
        """All cuts; what ends them early is kept in `stopped_by`."""
        self.report.run["started"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            with _as_cannot_judge():
                self.run_.prepare()
                self._say_before()
                self._cuts()
                self._left = self.run_.finish(self.args.keep_records)
        except MountLost:
            self._left = "the handset cannot open its journal: save an image of its flash"
            self.stopped_by = None
            self.report.partial = True
        except (HostError, KeyboardInterrupt) as error:
            self.stopped_by = error
            self.report.partial = True
            if isinstance(error, KeyboardInterrupt) and self.run_.cuts:
                with contextlib.suppress(DrybagError, OSError, MountLost):
                    self.run_.abandon()
                    self._left = self.run_.finish(self.args.keep_records)

    def _cuts(self):
        total = None if self.args.minutes else self.args.cuts or DEFAULT_CUTS
        deadline = time.monotonic() + 60 * self.args.minutes if self.args.minutes else None
        with self.out.progress("cutting power", total, "cut") as bar:
            number = 1
            while number - 1 != total and (deadline is None or time.monotonic() < deadline):
                known = len(self.run_.problems)
                self.run_.cut(number)
                for at, problem, word in self.run_.problems[known:]:
                    self.out.warn("after cut %d: %s: expected %s; found %s (%s)"
                                  % (at, *problem, word))  # fmt: skip
                number += 1
                bar.advance()

    def _say_before(self):
        run = self.run_
        info = run.info
        versions = info.get("versions", {})
        self.report.run.update(
            subject="%s (%s)" % (self.target, info.get("machine", "")),
            handset=info.get("id", ""),
            micropython=versions.get("micropython", ""),
            power="%s (%s)" % (self.switch.name, self.switch.kind),
            reset_only=self.switch.reset_only,
            others=len(run.others),
        )
        if run.removed_before:
            self.out.say("%d records of an earlier run deleted" % run.removed_before)
        self.out.say(
            "%s: the switch '%s' works; %s of others on the handset stay untouched"
            % (self.target, self.switch.name, count_text(len(run.others), "record"))
        )

    # -- the result -----------------------------------------------------------------------------
    def end(self):
        """Fill the Report, write and print it. Raises what ended the campaign early."""
        self._fill()
        if self.args.report:
            from drybag_host.rig.report import write_report

            self.report.run["page"] = str(write_report(self.report, self.args.report))
        self._print()
        if self.stopped_by is not None and not self.report.failures:
            raise self.stopped_by
        if self.stopped_by is not None:
            self.out.warn("ended early: %s" % (self.stopped_by or "Ctrl-C"))

    def _fill(self):
        run, report = self.run_, self.report
        judged = [cut for cut in run.cuts if cut.judged]
        report.total, report.distinct, report.boots = len(run.cuts), len(judged), len(judged)
        for cut in run.cuts:
            self._count(cut)
        for number, problem, word in run.problems:
            how = next((cut.how for cut in run.cuts if cut.number == number), "idle")
            report.failures.append(
                Failure(word, how, *map(str, problem))
            )
        self._wear(run.keeper.wear)
        self._not_judged(len(run.cuts) - len(judged))
        clean = sum(cut.how in AT_RANDOM and not cut.failed for cut in judged)
        bound = "" if report.failures or self.switch.reset_only else bound_text(clean)
        report.run.update(
            mode=count_text(len(run.cuts), "cut"),
            seconds=round(time.monotonic() - self._started, 1),
            version=self.args.tool_version(),
            acknowledged=run.oracle.acknowledged,
            random_cuts=clean,
            bound=bound,
            left=self._left,
            kept=str(kept_folder()) if run.keeper.kept else "",
        )
        if self._board is not None:
            now = self._board.counters
            moved = {name: now[name] - before for name, before in self._counters.items()}
            report.places = {"everything this run wrote": moved}
        else:
            report.places = {"estimate from what was acknowledged": _estimate(run.oracle)}
        report.exposure = exposure(report.places)

    def _wear(self, wear):
        """Erases and programs of each sector of the partition."""
        for number, (erases, programs) in wear.items():
            number -= self._pim.offset // SECTOR_BYTES
            if 0 <= number < self._pim.size // SECTOR_BYTES:
                sector = self.report.sectors.setdefault(number, SectorResult())
                sector.erases += erases
                sector.programs += programs

    def _not_judged(self, unjudged):
        error = self.stopped_by
        hint = getattr(error, "hint", "") or ""
        if isinstance(error, KeyboardInterrupt):
            error = "stopped with Ctrl-C"
        if error is not None:
            self.report.not_judged.append(NotJudged("board", str(error), hint))
        elif unjudged:
            why = "%s not judged" % count_text(unjudged, "cut")
            self.report.not_judged.append(NotJudged("board", why))

    def _count(self, cut):
        report = self.report
        if cut.fell is not None:
            place = cut.fell["op"] or "idle"
            state = cut.fell["state"] or "clean"
        else:
            place, state = UNKNOWN if cut.in_flight else "idle", "not known"
            if cut.how == "boot":
                place = "boot"
        for counts, key in (
            (report.cuts_seen, place), (report.by_place, place), (report.by_kind, state),
        ):  # fmt: skip
            counts[key] = counts.get(key, 0) + 1
        row = report.workloads.setdefault(cut.how, WorkloadResult(subject="board"))
        row.cuts += 1
        row.states += cut.judged
        row.failed += cut.failed
        if cut.fell is not None and cut.fell["op"] and self._pim is not None:
            number = (cut.fell["address"] - self._pim.offset) // SECTOR_BYTES
            sector = report.sectors.setdefault(number, SectorResult())
            sector.cuts += 1
            sector.failed += cut.failed

    def _print(self):
        out, report = self.out, self.report
        out.document(report.to_json())
        rows = [
            (HOWS.get(how, how), w.cuts, w.states, w.failed)
            for how, w in sorted(report.workloads.items())
        ]
        if rows:
            out.table("Cuts", ("power went", ">cuts", ">judged", ">failed"), rows)
        if report.failures:
            rows = [(f.id, f.what, f.expected, f.found) for f in report.failures]
            out.table("Failures", ("id", "what", "expected", "found"), rows)
        run = report.run
        fell = ", ".join("%s %d" % item for item in sorted(report.cuts_seen.items())) or "nowhere"
        facts = [
            ("board", run["subject"]),
            ("cuts fell", fell),
            ("acknowledged", count_text(run["acknowledged"], "operation")),
            ("took", duration_text(run["seconds"])),
            ("seed", run["seed"]),
            ("lost", "%d" % len(report.failures)),
            ("bound", run["bound"] or self._no_bound()),
            ("left behind", run["left"] or "perhaps records of the rig: run it again"),
        ]
        if run.get("kept"):
            facts.append(("kept", "%s: drybag rig replay ID" % run["kept"]))
        if run.get("page"):
            facts.append(("report", run["page"]))
        out.facts("Ended early" if report.partial else "Done", facts)

    def _no_bound(self):
        if self.report.failures:
            return "none: something was lost"
        return "none: these were resets, the flash kept its power"


def _estimate(oracle):
    """What the journal programs and erases for the operations acknowledged, about."""
    units = (oracle.acknowledged_bytes + 30 * oracle.acknowledged) // 64 + oracle.acknowledged // 2
    programmed_bytes = 64 * units * 64 // 60  # four units of a segment are header and parity
    return {
        "programs": programmed_bytes // 64,
        "programmed_bytes": programmed_bytes,
        "erases": programmed_bytes // SECTOR_BYTES,
    }


@contextlib.contextmanager
def _as_cannot_judge():
    """Whatever keeps the rig from its work is exit code 3; Usage stays what it is."""
    try:
        yield
    except (Usage, CannotJudge, MountLost):
        raise
    except HostError as error:
        if error.exit_code == CannotJudge.exit_code:
            raise
        raise CannotJudge(str(error), error.hint) from error
    except (DrybagError, OSError) as error:
        raise CannotJudge("%s: %s" % (type(error).__name__, error)) from error
