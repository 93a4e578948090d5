"""The gate's known-bad variants of journal and sync: does the rig catch anything?

Each is a small patch applied in memory, for good: one worker runs one subject. The gate runs a
variant's workloads, most telling first, and stops at the first state that shows it.
"""

from drybag_host.rig.device import variants_boot as boot
from drybag_host.rig.device import variants_hub as hub
from drybag_host.rig.device import variants_room as room
from drybag_host.rig.device import variants_sync as sync
from drybag_host.rig.device import variants_write as write
from drybag_host.rig.device.patch import Patch

# patch, the workload that shows it soonest; where boots are slow, the part of its cuts to sweep;
# the letters of the states (plan.py), if not every cut and no damage at rest
_GATE = (
    (write.ack_before_flush, "puts"),
    (write.no_crc, "puts"),
    (write.crc_over_header_only, "puts"),
    (write.units_in_sequence, "puts"),
    (write.no_parity, "puts"),
    (write.parity_never_used, "puts"),
    (write.no_read_back, "worn-silent"),
    (write.batch_without_commit, "batches"),
    (write.delete_in_ram, "puts"),
    (write.blob_after_entry, "photos"),
    (room.tombstone_forgotten, "compaction"),
    (room.header_lets_go_early, "puts"),
    (room.erased_before_header, "tombstones"),
    (room.erased_before_copy, "compaction"),
    (room.checkpoint_from_its_end, "checkpoint", (3, 10)),
    (room.checkpoint_counts_early, "checkpoint", (8, 10)),
    (room.stale_counts_as_free, "churn"),
    (boot.format_when_not_mountable, "not-ours"),
    (boot.torn_copy_counts, "recovery"),
    (boot.tail_not_copied, "unsteady"),
    (boot.append_to_torn_tail, "puts"),
    (boot.orphan_unprotected, "recovery"),
    (boot.copied_segment_resurrected, "unsteady"),
    (boot.source_of_source_let_go, "marginal"),
    (boot.cut_copy_outlives_its_source, "chain-torn"),
    (boot.prev_units_forgotten, "lives", (0, 1), "g"),
    (boot.seq_reused, "puts"),
    (boot.batch_replayed_at_once, "batches"),
    (boot.guard_off, "forgotten"),
    (boot.small_commits, "format"),
    (hub.pending_dropped, "pending"),
    (hub.tombstone_copied_blindly, "pending", (4, 10)),
    (hub.base_lost_in_copy, "pending", (1, 10)),
    (hub.pending_beside_record, "paired"),
    (hub.pending_in_ram, "pending-recovery"),
    (hub.checkpoint_without_pending, "pending-checkpoint"),
    (hub.base_of_newest, "paired"),
    (hub.tombstone_without_base, "paired"),
    (sync.state_before_changes, "syncing", (9, 10)),
    (sync.agreed_before_answer, "syncing", (4, 10)),
    (sync.deletions_of_a_set_back_hub_forgotten, "sync-set-back"),
    (sync.reset_forgotten, "sync-set-back"),
    (sync.merge_takes_one_side, "sync-merge"),
    (sync.merged_taken_for_own, "sync-merge"),
    (sync.change_over_unsent_edit, "sync-merge"),
    (sync.merged_after_its_state, "sync-merge"),
)


def _name(function):
    return function.__name__.replace("_", "-")


VARIANTS = {_name(row[0]): row[0] for row in _GATE}
WORKLOADS = {_name(row[0]): (row[1], row[2] if len(row) > 2 else (0, 1)) for row in _GATE}
LETTERS = {_name(row[0]): row[3] for row in _GATE if len(row) > 3}


def apply(name):
    """Patch it into this process. Raises ValueError where there is no such variant."""
    if name not in VARIANTS:
        raise ValueError("no variant '%s': there are %s" % (name, ", ".join(sorted(VARIANTS))))
    VARIANTS[name](Patch())


def part_of(name):
    """"sync" for what is wrong in the engine of sync, else "journal"."""
    return "sync" if hasattr(sync, name.replace("-", "_")) else "journal"


def describe(name):
    """What is wrong with it, in a line."""
    return VARIANTS[name].__doc__
