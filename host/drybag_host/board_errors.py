"""What can go wrong with boards, emulated ones above all, on top of `drybag_host.errors`.

EmulatorError (18)
    UnknownBoardName (15)  no emulated board of that name
    NameTaken (30)         `create` with a name in use, or a name that cannot be one
    AlreadyRunning (31)    `start` or `power on` of a board which has power
    NotRunning (32)        needs a board with power, or a started one
    ImageProblem (33)      the flash image is missing, has the wrong size or cannot be made
        ForeignImage (40)  the firmware file is of another project
    ImageInUse (34)        another board runs on the same image
    BoardFileError (35)    a file in boards/ is wrong, or a partition table
"""

from drybag_host.errors import EmulatorError


class UnknownBoardName(EmulatorError):
    exit_code = 15
    hint = "'drybag emu list' shows the boards, 'drybag emu create NAME' makes one"


class NameTaken(EmulatorError):
    exit_code = 30
    hint = "choose another name, or remove the board with 'drybag emu rm NAME'"


class AlreadyRunning(EmulatorError):
    exit_code = 31
    hint = "use it as it is, or cut its power first: drybag emu power NAME off"


class NotRunning(EmulatorError):
    exit_code = 32
    hint = (
        "'drybag emu start NAME' starts a board, 'drybag emu power NAME on' gives it power; "
        "--start does either"
    )


class ImageProblem(EmulatorError):
    exit_code = 33


class ForeignImage(ImageProblem):
    exit_code = 40
    hint = "give MicroPython's stock firmware for this chip, from micropython.org/download"


class ImageInUse(EmulatorError):
    exit_code = 34
    hint = "stop the other board first: 'drybag emu list' shows which are running"


class BoardFileError(EmulatorError):
    exit_code = 35
    hint = "'drybag boards' checks all board files"
