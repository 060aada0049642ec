# For scripts that run in the guest; sourced. Many checks share one boot.
#
#   check NAME COMMAND [ARG]…   runs COMMAND, a function too, in a shell of its own that ends at its first failure, and prints "NAME: ok", or
#                               "NAME: FAILED (status)" and what it printed, indented. The script goes on either way. What takes longer than
#                               $check_seconds is killed.
checks_output=$(mktemp)
check_seconds=300

check() {
    local name=$1 status=0 job watch
    shift
    # Not in a condition and not in a substitution: the shell would ignore failures inside, or wait for what stays in the background.
    # With job control it is a process group of its own, which can be killed whole.
    set -m
    (set +m -eo pipefail; "$@") > "$checks_output" 2>&1 < /dev/null &
    job=$!
    set +m
    (sleep $check_seconds; echo 'it takes too long' >> "$checks_output"; kill -9 -- -$job) > /dev/null 2>&1 &
    watch=$!
    wait $job 2> /dev/null || status=$?
    kill $watch 2> /dev/null
    if [ $status -eq 0 ]; then
        printf '%s: ok\n' "$name"
    else
        printf '%s: FAILED (%s)\n' "$name" "$status"
        sed 's/^/    /' "$checks_output"
    fi
}
