#!/bin/sh
# answers.sh DIR URL: wait until the server that was begun (DIR/pids) answers
# at URL, which then goes to DIR/url; 75 when it does not.
# SPDX-License-Identifier: ISC
dir=${1:?usage: answers.sh DIR URL} url=${2:?usage: answers.sh DIR URL}
n=0
until perl -MIO::Socket::INET -e 'my ($a) = $ARGV[0] =~ m,//(.*),;
    my $s = IO::Socket::INET->new(PeerAddr => $a, Timeout => 2) or exit 1;
    print $s "GET / HTTP/1.0\r\n\r\n"; exit !defined <$s>' "$url"; do
	n=$((n + 1))
	if [ $n -ge 1200 ] || ! kill -0 "$(head -n 1 "$dir/pids")" 2>/dev/null
	then
		echo "answers.sh: $url: no answer; the end of its log:" >&2
		tail -5 "$dir/log" >&2
		"$(dirname "$0")/down.sh" "$dir"
		exit 75
	fi
	sleep 0.05
done
echo "$url" >"$dir/url"
