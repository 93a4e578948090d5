"""Errors of the rig, on top of drybag_host.errors.

HostError
    CannotJudge (3)   the rig itself could not do its work: nothing is said about the subject
        RigFailed     a worker died, did not answer or ran out of memory
    BadRigId (2)      an id that cannot be read, or of another version of the rig
"""

from drybag_host.errors import HostError, Usage


class CannotJudge(HostError):
    exit_code = 3


class RigFailed(CannotJudge):
    hint = "run it again; if it comes back, 'drybag rig replay ID --debug' shows where"


class BadRigId(Usage):
    hint = "ids are printed by 'drybag rig run'; copy the whole of one, without spaces"


__all__ = ["BadRigId", "CannotJudge", "RigFailed"]
