#!/bin/sh
# Post each line of CEL's file to the Call Events Service, and go on with new lines.
#
#   post-cel.sh FILE URL
#
# FILE.posted keeps how many bytes were read, and FILE.again the lines that failed, so the script may be killed and
# started at any time. If FILE becomes shorter, the script begins at its start.
set -u
LC_ALL=C
export LC_ALL
file=$1 url=$2
failures_max=10
failures=0

# Post a line, or note it for later. After ten failures in a row the service is away, and the line is only noted.
post() {
    status=000
    if [ "$failures" -lt "$failures_max" ]; then
        # The key makes it safe to send an event again whose answer was lost.
        key=$(printf %s "$1" | md5sum | cut -d ' ' -f 1)
        status=$(printf %s "$1" | curl -s -o "$file.answer" -w '%{http_code}' --max-time 4 \
            -H "Idempotency-Key: $key" --data-binary @- "$url")
    fi
    case $status in
        2??) failures=0 ;;
        408 | 429 | 5?? | 000)
            failures=$((failures + 1))
            printf '%s\n' "$1" >>"$file.again"
            ;;
        # Other answers stay the same however often the event is sent.
        *) echo "event refused and lost: $(cat "$file.answer")" >&2 ;;
    esac
}

# A call has two channels, and each has events. Those of the caller's channel, and the call's end, are enough.
is_of_the_call() {
    case $1 in
        *'&event_type=LINKEDID_END&'*) return 0 ;;
    esac
    printf %s "$1" | grep -q '^call_id=\([^&]*\)&leg=\1&'
}

post_again() {
    [ -e "$file.again.now" ] || mv "$file.again" "$file.again.now" 2>/dev/null || return
    while IFS= read -r line; do
        post "$line"
    done <"$file.again.now"
    rm "$file.again.now"
}

read_posted() {
    posted=$(cat "$file.posted" 2>/dev/null) || posted=0
}

# A line without its end is still being written, and "read" fails for it.
post_new() {
    read_posted
    size=$(stat -c %s "$file" 2>/dev/null) || size=0
    [ "$size" -ge "$posted" ] || posted=0
    tail -c "+$((posted + 1))" "$file" 2>/dev/null | while IFS= read -r line; do
        if is_of_the_call "$line"; then post "$line"; fi
        posted=$((posted + ${#line} + 1))
        echo "$posted" >"$file.posted.new" && mv "$file.posted.new" "$file.posted"
        [ "$failures" -lt "$failures_max" ] || break
    done
}

while :; do
    failures=0
    post_again
    [ "$failures" -ge "$failures_max" ] || post_new
    sleep 1
done
