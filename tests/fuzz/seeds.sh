#!/bin/sh
# seeds.sh DIR: where fuzzing starts from, DIR/TARGET/*: real stores, streams
# and archives out of the tree, and the small texts below.  BIN=build/bin.
# SPDX-License-Identifier: ISC
set -eu
LC_ALL=C TZ=UTC
export LC_ALL TZ
unset DSTAGE DRUN_ID DCKPT_DB DTRACE
SRC=$(cd "$(dirname "$0")/../.." && pwd)
BIN=$(cd "${BIN:-$SRC/build/bin}" && pwd)
PATH=$BIN:$PATH
mkdir -p "$1"
cd "$1"
W=$(mktemp -d "${TMPDIR:-/tmp}/intact-seeds.XXXXXX")
trap 'rm -rf "$W"' EXIT
mkdir "$W/tmp"
TMPDIR=$W/tmp DCACHE=$W/cache
export PATH TMPDIR DCACHE
DATA=$SRC/tests/data
for t in stream record json plan xml s3list davlist manifest journal commit \
    sign cred pickle hnsw archive batch join chroma sql store ledger; do
	mkdir -p $t
	[ ! -d "$DATA/fuzz/$t" ] || cp "$DATA/fuzz/$t"/* $t/
done
# parts FILE...: files as the parts of one input
parts() {
	for f; do
		cat "$f"
		printf '\377'
	done
}

# streams, records, manifests and stores, as the programs make them
drun "dfetch $DATA/demo/delta-01 $DATA/demo/delta-02 | tee stream/fetch |
    dcheck | tee stream/check | dmerge -o $W/m | tee stream/merge" >stream/last
drun "dfetch $DATA/demo/delta-01 | dcheck | dmerge -F chroma -o $W/c" >"$W/o"
drun "dfetch $DATA/demo/delta-01 | dcheck | dmerge | dpublish --json $W/t" \
    >json/published
dfetch --json "$DATA/demo" >"$W/o" 2>&1 || true
sed -n 2p "$W/o" >json/record
printf '\203\241t\245delta\241n\007\241x\300' >record/map
tail -c +40 stream/fetch >record/tail
dfetch -l --sha256 "$DATA/demo" | tr '\n' '\377' >plan/demo
cp "$W/m/manifest.json" manifest/sqlite
cp "$W/c/manifest.json" manifest/chroma
parts "$W"/t/commits/1.json "$W"/t/latest-pointer.txt \
    "$W"/t/timestamped/*/manifest.json >commit/published
cp "$W/m/store.sqlite3" store/m
cp "$W/c/ledger.sqlite3" ledger/c
mkdir "$W/in" "$W/set"
echo one >"$W/set/a"
echo two >"$W/set/b"
drun "dfetch --files $W/set | dcheck | dpublish --in-place $W/in" >"$W/o"
cp "$W"/in/.intact/timestamped/*/journal.json journal/set

# what ChromaDB wrote
for d in "$DATA"/samples/*/db; do
	n=${d#"$DATA"/samples/} n=${n%/db}
	s=$(wc -c <"$d/chroma.sqlite3" 2>/dev/null || echo 0)
	# large ones are slow to mutate, and hold nothing more
	[ "$s" -gt 300000 ] || [ "$s" = 0 ] || cp "$d/chroma.sqlite3" chroma/$n
	for i in "$d"/*-*-*/; do
		[ -s "$i/index_metadata.pickle" ] &&
		    cp "$i/index_metadata.pickle" "pickle/$n"
		[ -s "$i/header.bin" ] && [ "$(du -sk "$i" | cut -f1)" -lt 500 ] &&
		    cat "$i"header.bin "$i"data_level0.bin "$i"length.bin \
		    "$i"link_lists.bin >"hnsw/$n"
	done || true
done
(cd "$DATA/samples/clean_small" && tar cf - db) >archive/tar
gzip -9 <archive/tar >archive/tar.gz
zstd -q -19 <archive/tar >archive/tar.zst
(cd "$W/set" && zip -q -r - .) >archive/zip
(cd "$W/set" && tar cf - .) >archive/small.tar
(cd "$W/set" && tar --format=pax -cf - .) >archive/pax.tar

# texts
printf '{"a":{"b":[1,-2.5e3,true,null,"\\u00e9\\n"]},"c":"x"}' >json/all
printf '%s\n' '{"custom_id":"a","response":{"status_code":200,"body":{"model":"m","data":[{"embedding":[1,2.5,-3]}]}}}' \
    '{"custom_id":"b","response":{"status_code":200,"body":{"model":"m","data":[{"embedding":[0.5,1,2]}]}},"document":"d","metadata":{"k":1}}' \
    >batch/two
{
	printf '%s\n' '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"text a"}}' \
	    '{"custom_id":"b","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"text b"}}'
	printf '\377'
	printf '%s\n' '{"id":"r1","custom_id":"a","response":{"status_code":200,"body":{"model":"m","data":[{"embedding":[1,2]}]}},"error":null}'
	printf '\377'
	printf '%s\n' '{"id":"r2","custom_id":"b","response":null,"error":{"code":"e","message":"m"}}'
} >join/one
printf '<?xml version="1.0"?><a x="1"><!-- c --><b>t&amp;&#233;</b><c/></a>' \
    >xml/small
printf '%s' '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>in/</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>t</NextContinuationToken><Contents><Key>in/a%20b</Key><LastModified>2026-11-20T16:12:48.000Z</LastModified><ETag>&quot;x&quot;</ETag><Size>12</Size></Contents><Contents><Key>in/c</Key><Size>0</Size><ETag>"y"</ETag></Contents><CommonPrefixes><Prefix>in/d/</Prefix></CommonPrefixes></ListBucketResult>' \
    >s3list/objects
printf '%s' '<ListMultipartUploadsResult><Bucket>bucket</Bucket><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker><IsTruncated>false</IsTruncated><Upload><Key>in/a</Key><UploadId>i</UploadId><Initiated>2026-11-20T16:12:48.000Z</Initiated></Upload></ListMultipartUploadsResult>' \
    >s3list/uploads
printf '%s' '<ListPartsResult><UploadId>i</UploadId><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><ETag>"x"</ETag><Size>5</Size></Part><Part><PartNumber>2</PartNumber><ETag>"y"</ETag><Size>5</Size></Part></ListPartsResult>' \
    >s3list/parts
printf '%s' '<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>' \
    >s3list/deleted
cp s3list/* xml/
printf '%s' '<?xml version="1.0"?><D:multistatus xmlns:D="DAV:"><D:response><D:href>/dav/key/</D:href><D:propstat><D:prop/><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response><D:response><D:href>http://127.0.0.1/dav/key/a%20b</D:href><D:status>HTTP/1.1 200 OK</D:status></D:response><D:response><D:href>/dav/key/c/</D:href></D:response></D:multistatus>' \
    >davlist/list
cp davlist/list xml/dav
printf 'a b/c\377k\377k2\377v 1\377v+2\377X-A: b \377x\377us-east-1\377AKID\377secret' \
    >sign/all
printf '[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\ns3 =\n  addressing_style = path\n[profile b]\nregion=x\n\377[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\naws_session_token = t\n' \
    >cred/both
cat >sql/rows <<'EOF'
UPDATE embeddings SET embedding_id='x' WHERE id=1
UPDATE embeddings SET seq_id=99 WHERE id=2
UPDATE embeddings_queue SET vector=substr(vector,1,7) WHERE seq_id=1
UPDATE embeddings_queue SET operation=3 WHERE seq_id=2
UPDATE embeddings_queue SET metadata='{"a":1.5,"b":null,"c":[1]}', encoding='FLOAT32'
DELETE FROM embedding_metadata WHERE id=1
INSERT INTO embedding_metadata(id,key,string_value) VALUES(3,'k','v')
EOF
cat >sql/schema <<'EOF'
CREATE TRIGGER t AFTER INSERT ON embeddings BEGIN DELETE FROM segments; END
CREATE VIEW v AS SELECT * FROM embeddings
ALTER TABLE embeddings ADD COLUMN g AS (id*2)
CREATE INDEX i ON embeddings(abs(seq_id))
DROP TABLE segments
UPDATE sqlite_master SET sql='CREATE TABLE collections(id)' WHERE name='collections'
EOF
cat >sql/collections <<'EOF'
UPDATE collections SET dimension=5
UPDATE collections SET config_json_str='{"hnsw":{"space":"cosine"}}'
UPDATE segments SET type='urn:chroma:segment/vector/hnsw-local-memory'
UPDATE max_seq_id SET seq_id=x'0000000000000007'
INSERT INTO collections SELECT 'b', 'n', dimension, database_id, config_json_str, NULL FROM collections
DELETE FROM collections
UPDATE databases SET name='z'
UPDATE migrations SET hash='x' WHERE rowid=2
EOF
