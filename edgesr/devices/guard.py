"""The shell program that runs a command on a device and leaves nothing behind.

It ends the command, and all that the command started in its process group, when

- its own standard input is closed: the host cancelled, was killed, or the connection was closed;
- nothing came from the host for QUIET_S, although the host writes a line every BEAT_S: the network is gone, which a
  server may notice only after hours;
- the command takes longer than it may.

POSIX sh without arrays or `read -t`, because it has to run in dash (whose `kill` takes no `--`), busybox, bash 3.2 of
macOS and mksh or toybox of Android. On one line, because a login shell of the csh family takes no newline between
quotes. Checks every TICK_S: a fork of `sleep` then is all that it costs the device while something is measured.
"""

from collections.abc import Sequence

BEAT_S = 5
QUIET_S = 60
TICK_S = 5
STARTED, EXIT = "edgesr-started", "edgesr-exit"
"""Lines on stderr: the command was started, and how it ended. ssh's own exit code 255 says neither."""

_LINES = (
    "limit=$1; shift; exec 3<&0;",
    # A process group of its own: by setsid where it exists (Linux, Android), else by job control (macOS).
    'if command -v setsid >/dev/null 2>&1; then setsid "$@" </dev/null 3<&- & child=$!;',
    'else set -m; "$@" </dev/null 3<&- & child=$!; set +m; fi;',
    f"echo {STARTED} $child >&2;",
    'end() { kill -TERM "-$child"; sleep 1; kill -KILL "-$child"; };',
    # The clock: `sleep` in the background and `wait`, because a trap runs only after a command in the foreground.
    "( trap 'kill $nap; exit' TERM; trap 'quiet=0' USR1; quiet=0;",
    f'while [ "$limit" -gt 0 ] && [ "$quiet" -lt {QUIET_S} ]; do sleep {TICK_S} & nap=$!;',
    'while kill -0 $nap; do wait $nap; done; kill -0 "-$child" || exit;',
    f"limit=$((limit-{TICK_S})); quiet=$((quiet+{TICK_S})); done; end ) </dev/null >/dev/null 2>&1 3<&- & clock=$!;",
    # The ear: every line resets the clock's patience; end of input ends the command.
    "( trap 'exit' TERM; while read -r beat <&3; do kill -USR1 $clock; done; end )",
    "</dev/null >/dev/null 2>&1 & ear=$!;",
    # A shell may report a killed job on stderr, which is closed if the host is gone: that must not end the guard.
    "exec 3<&-; trap '' PIPE; trap end HUP INT TERM;",
    "wait $child; code=$?;",
    # A trapped signal interrupts `wait`: what is left of the group ends here, also what a finished command forgot.
    'kill -KILL "-$child" 2>/dev/null; kill $ear $clock 2>/dev/null; wait $ear $clock 2>/dev/null;',
    f"echo >&2; echo {EXIT} $code >&2; exit $code",
)
PROGRAM = " ".join(_LINES)


def guarded(argv: Sequence[str], limit_s: float) -> list[str]:
    """`argv` under the guard; its clock is a second line behind the host's, so it is given more time."""
    return ["sh", "-c", PROGRAM, "edgesr", str(int(limit_s) + 2 * TICK_S), *argv]
