# For scripts that run in the guest; sourced. Many checks share one boot.
#
#   check NAME COMMAND [ARG]…   runs COMMAND, a function too, in a shell of its own that ends at its first failure, and prints "NAME: ok", or
#                               "NAME: FAILED (status)" and what it printed, indented. The script goes on either way.
checks_output=$(mktemp)

check() {
    local name=$1 status=0
    shift
    # Not in a condition and not in a substitution: the shell would ignore failures inside, or wait for what stays in the background.
    (set -eo pipefail; "$@") > "$checks_output" 2>&1 < /dev/null &
    wait $! || status=$?
    if [ $status -eq 0 ]; then
        printf '%s: ok\n' "$name"
    else
        printf '%s: FAILED (%s)\n' "$name" "$status"
        sed 's/^/    /' "$checks_output"
    fi
}
