# s3lib.sh: what tests before a real S3 server with a fault proxy share; for
# tests/*.t, after lib.sh.  Servers are those of $T: s3_down before finish.
REAL=$SRC/tests/real
GEN=${GEN:-$SRC/build/gen}
PATH=$GEN:$PATH
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE AWS_REGION \
    AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3 AWS_MAX_ATTEMPTS \
    http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export AWS_ACCESS_KEY_ID=testkey AWS_SECRET_ACCESS_KEY=testsecret \
    AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/nonexistent \
    AWS_SHARED_CREDENTIALS_FILE=/nonexistent
trap s3_down EXIT

s3_down() {
	for d in "$T"/proxy* "$T/web" "$T/rgw" "$T/swift" "$T/lighttpd"; do
		[ ! -d "$d" ] || "$REAL/down.sh" "$d"
	done
}

# s3_rgw: Ceph's gateway, its address in $RGW; 1 and the reason in $why when
# it cannot be had
s3_rgw() {
	if ! "$REAL/rgw.sh" "$T/rgw" 2>"$T/rgw.err"; then
		why="no rgw here (contrib/deps.sh s3): $(tail -1 "$T/rgw.err")"
		return 1
	fi
	RGW=$(cat "$T/rgw/url")
}

# fault_up NAME URL: a fault proxy in $T/proxyNAME before the server at URL;
# its address in $PROXY, its directory in $FP
fault_up() {
	FP=$T/proxy$1 at=${2#http://}
	"$REAL/faultproxy.sh" "$FP" "${at%%/*}" || exit 99
	PROXY=$(cat "$FP/url")
}

# settled: until every request has its end in the log
settled() {
	turns=0
	until awk '/^ask / { n++ } /^end / { n-- } END { exit n != 0 }' \
	    "$FP/log"; do
		turns=$((turns + 1))
		[ $turns -lt 600 ] || { echo "# requests without an end"; return 1; }
		sleep 0.05
	done
}

# fault [RULE...]: these rules from now on, none without, and an empty log
fault() {
	settled
	for r; do echo "$r"; done >"$FP/rules.new"
	mv "$FP/rules.new" "$FP/rules"
	: >"$FP/log"
}

# asked [PATTERN]: how many requests' "METHOD TARGET RULE WHERE ACTION"
# match the extended regular expression
asked() {
	settled
	sed -n 's/^ask [0-9]* //p' "$FP/log" | grep -Ec -- "${1-}"
}

# moved: bytes of bodies that were sent to clients
moved() {
	settled
	awk '/^end / { n += $6 } END { printf "%d\n", n }' "$FP/log"
}
