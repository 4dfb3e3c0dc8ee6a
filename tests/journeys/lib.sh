# shellcheck shell=bash
# What journeys share, sourced by scripts/journeys.
#
# A journey is a file. Its first lines are comments: what a user does. The commands follow. They start in the checkout's root, $root.
# $work is a folder for the journey's files, with the demo video as video.mp4. `fail` ends a journey and says what is wrong.
# Exit status 77 is a skip, with the reason.

# user COMMAND...: what a user types in a new terminal. $home is the home folder, with the installation. The
# environment has no display, and no variable of this project or of the person who tests. The output goes into
# $work/said, and is shown if the command fails. A command that runs in circles is ended after two minutes of
# CPU time, which take longer on a busy machine; one that hangs after ten minutes.
user() {
  local status=0
  (cd "$work" && exec env -i HOME="$home" PATH=/usr/bin:/bin LANG=C.UTF-8 prlimit --cpu=120 timeout --kill-after=10 600 "$@") \
    >"$work/said" 2>&1 </dev/null || status=$?
  if [ $status != 0 ]; then
    cat "$work/said"
    say "status $status: $*"
  fi
  return $status
}

# at_home SCRIPT...: runs a script of this project for the user whose home folder is $home, with the Rust of the
# person who tests.
at_home() {
  env -u XDG_DATA_HOME CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" HOME="$home" "$@"
}

# fails COMMAND...: like user, for a command that must end by itself with an error.
fails() {
  local status=0
  user "$@" >/dev/null || status=$?
  case $status in
    0) fail "this ended well: $*" ;;
    124 | 137) fail "this did not end: $*" ;;
    13[0-9]) cat "$work/said"; fail "this crashed, status $status: $*" ;;
  esac
}

# says WORDS..., says_not WORDS...: what the last command printed; each is an extended regular expression of one
# line.
says() {
  local words
  for words; do grep -qE -- "$words" "$work/said" || { cat "$work/said"; fail "this was not said: $words"; }; done
}
says_not() {
  local words
  for words; do ! grep -E -- "$words" "$work/said" || { cat "$work/said"; fail "this was said: $words"; }; done
}
# What no program should print for a user who did everything right.
says_nothing_bad() { says_not '^WARN' '^ERROR' 'CRITICAL \*\*' 'WARNING \*\*' 'panicked'; }
# Like says_nothing_bad, but allows the warning of a machine that is too slow for a live stream.
says_nothing_bad_but_slowness() {
  sed -i '/^WARNING: .* passed without inference/d' "$work/said"
  says_nothing_bad
}

# judge FILE.jsonl CONDITION...: checks lines of rtmposejson in $work; tests/journeys/judge.py lists the names
# in conditions.
judge() { "$PYTHON" tests/journeys/judge.py "$work/$1" "${@:2}" || fail "$1 is not what was expected"; }

# clip FILE ELEMENTS...: writes the first 60 frames of the demo video (60 a second, two people), scaled down,
# through these elements into a file.
clip() {
  local file=$1
  shift
  user gst-launch-1.0 -q filesrc location=video.mp4 ! decodebin ! videoconvert ! videoscale ! video/x-raw,width=640,height=360 ! \
    identity eos-after=61 ! "$@" ! filesink "location=$file"
}

# frames_of FILE: the number of video frames in a file.
frames_of() {
  user gst-launch-1.0 -v filesrc "location=$1" ! decodebin ! fakesink silent=false || return 1
  grep -c 'chain' "$work/said"
}
