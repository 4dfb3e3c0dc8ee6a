# shellcheck shell=bash
# Sourced by scripts/test and .ci/run: runs groups of tests, measures each, and prints a summary.
# The file RESULTS receives a line per group; .ci/run passes its own to scripts/test.
owns_results=
if [ -z "${RESULTS:-}" ]; then
  RESULTS=$(mktemp)
  export RESULTS
  owns_results=1
fi

# group NAME COMMAND...: exit status 77 is a skip, which with CI=true counts as a failure. Continues after a failure.
group() {
  local name=$1 status=0 result=passed start=$SECONDS
  shift
  say "=== $name"
  "$@" </dev/null || status=$?
  if [ "$status" = 77 ] && [ "${CI:-}" != true ]; then
    result=skipped
  elif [ "$status" != 0 ]; then
    result=FAILED
  fi
  printf '%-8s %4d s  %s\n' "$result" $((SECONDS - start)) "$name" | tee -a "$RESULTS"
}

# Prints the table, and as the last line 'N passed, N failed'; status 1 if one failed or none passed.
summary() {
  local passed failed skipped
  if [ -z "$owns_results" ]; then return; fi
  passed=$(grep -c '^passed' "$RESULTS" || true)
  failed=$(grep -c '^FAILED' "$RESULTS" || true)
  skipped=$(grep -c '^skipped' "$RESULTS" || true)
  say "=== summary"
  cat "$RESULTS"
  rm "$RESULTS"
  if [ "$skipped" != 0 ]; then skipped=", $skipped skipped"; else skipped=; fi
  say "$passed passed, $failed failed$skipped"
  [ "$failed" = 0 ] && [ "$passed" != 0 ]
}
