# Sourced by setup.sh. How a step is shown: a line when it ends with its verdict and seconds, and one every ten seconds
# while something long runs. A step's function sets $verdict, and calls stop with the reason when it cannot go on.

current=start
verdict=
started=0
running=
end_with=TERM
# interrupted: ends what is under way, which the shell started with SIGINT ignored, and waits for it, so that the next setup does
# not meet it. A second signal ends the shell at once.
interrupted() {
	trap - INT TERM HUP
	if [ -n "$running" ]; then
		printf 'setup: %-13s interrupted, waiting for it to end\n' "$current"
		kill -s "$end_with" "$running" 2> /dev/null || true # Gone already: some take SIGINT all the same.
		wait "$running" || true
	fi
	exit 130
}
trap interrupted INT TERM HUP

# step NAME FUNCTION...
step() {
	current=$1
	shift
	started=$(date +%s)
	verdict="nothing to do"
	"$@"
	printf 'setup: %-13s %s (%d s)\n' "$current" "$verdict" "$(($(date +%s) - started))"
}

# stop REASON: ends the setup.
stop() {
	printf 'setup: %s: FAILED: %s\n' "$current" "$1" >&2
	exit 1
}

# logged WHAT COMMAND...: runs the command with its output in a file, which the error names together with its end.
logged() {
	what=$1
	shift
	log="$state/$(printf %s "$current" | tr ' ' -).log"
	printf 'setup: %-13s %s\n' "$current" "$what"
	printf '\n$ %s\n' "$*" >> "$log"
	"$@" >> "$log" 2>&1 9>&- < /dev/null &
	running=$!
	shown=0
	while kill -0 "$running" 2> /dev/null; do
		sleep 0.2
		elapsed=$(($(date +%s) - started))
		if [ "$elapsed" -ge "$((shown + 10))" ]; then
			shown=$elapsed
			printf 'setup: %-13s %4d s  %s\n' "$current" "$elapsed" "$(tail -n 1 "$log" | cut -c 1-90)"
		fi
	done
	status=0
	wait "$running" || status=$?
	running=
	[ "$status" = 0 ] && return
	echo "--- the end of $log:" >&2
	tail -n 20 "$log" >&2
	echo "---" >&2
	stop "$what: \`$*\` ended with exit code $status; all of its output is in $PWD/$log"
}

# fingerprint PATH...: one line for the contents of files and folders, without what was built.
fingerprint() {
	find "$@" -type f ! -path '*/build/*' -print | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1
}

# fresh STAMP FINGERPRINT: true when remember was last called with the same.
fresh() {
	[ "$(cat "$state/$1.stamp" 2> /dev/null)" = "$2" ]
}

remember() {
	printf '%s\n' "$2" > "$state/$1.stamp"
}
