"""`drybag completion`: completion for a shell."""

ORDER = 95

SHELLS = ("bash", "zsh", "fish", "tcsh")
_HOME = "${DRYBAG_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/drybag}"
PREAMBLE = {
    "bash": """
_drybag_targets() {
  compgen -W "auto $(for kind in emu qemu; do
    cd "%s/$kind" 2>/dev/null && printf "$kind:%%s " *; done)" -- "$1"
  compgen -f -- "$1"
}
"""
    % _HOME,
    "zsh": """
_drybag_targets() {
  local -a found
  found=(auto ${=$(for kind in emu qemu; do
    cd "%s/$kind" 2>/dev/null && printf "$kind:%%s " *; done)})
  compadd -- $found
  _files
}
"""
    % _HOME,
    "fish": """
function _drybag_targets
  set -l home ~/.local/share/drybag
  set -q XDG_DATA_HOME; and set home $XDG_DATA_HOME/drybag
  set -q DRYBAG_HOME; and set home $DRYBAG_HOME
  echo auto
  for kind in emu qemu
    for board in $home/$kind/*/
      echo $kind:(basename $board)
    end
  end
  __fish_complete_path (commandline -ct)
end
""",
}
TARGET = {
    "bash": "_drybag_targets",
    "zsh": "_drybag_targets",
    "fish": "(_drybag_targets)",
    "tcsh": "f",
}


def add_parser(sub):
    parser = sub.add_parser(
        "completion",
        help="print the completion script for a shell",
        description="Print the completion script for a shell: put it where the shell looks.",
        epilog="example:\n"
        "  drybag completion bash > ~/.local/share/bash-completion/completions/drybag\n"
        "  drybag completion zsh > ~/.zfunc/_drybag\n"
        "  drybag completion fish > ~/.config/fish/completions/drybag.fish\n",
    )
    parser.add_argument("shell", choices=SHELLS, help="one of " + ", ".join(SHELLS))


def run(args):
    import shtab

    parser = args.build_parser()
    _mark(parser)
    text = shtab.complete(parser, args.shell, preamble=PREAMBLE)
    args.out.document({"shell": args.shell, "script": text})
    args.out.raw(text.encode() + b"\n")


def _mark(parser):
    """Tell shtab which arguments are files, folders and targets."""
    import shtab

    for action in parser._actions:
        if hasattr(action.choices, "values"):
            for child in set(action.choices.values()):
                _mark(child)
        elif action.metavar in ("TARGET", "DIR|TARGET"):
            action.complete = TARGET
        elif action.metavar in ("DIR", "OUT"):
            action.complete = shtab.DIRECTORY
        elif action.metavar == "FILE":
            action.complete = shtab.FILE
