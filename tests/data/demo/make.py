#!/usr/bin/env python3
# make.py NUMBER URL: what delta NUMBER of this directory holds, written into
# the empty ChromaDB server at URL over its HTTP interface.  See README.md.
# SPDX-License-Identifier: ISC
import hashlib
import json
import struct
import sys
import urllib.request

DIM = 16
BASE = "/api/v2/tenants/default_tenant/databases/default_database/collections"
SHOPS = ["Bäckerei Nord", "Corner Shop", "Fish & Co", "食料品店", "Café Süd"]


def call(url, body):
    req = urllib.request.Request(url, json.dumps(body).encode(),
                                 {"Content-Type": "application/json"})
    with urllib.request.urlopen(req) as r:
        return json.loads(r.read() or b"null")


def vector(text):
    """Sixteen float32 that depend on the text alone."""
    raw = hashlib.sha512(text.encode()).digest()
    v = [x / 2**31 - 1 for x in struct.unpack("<16I", raw)]
    return list(struct.unpack("<16f", struct.pack("<16f", *v)))


def rows(ids, rev=0):
    out = {"ids": [], "embeddings": [], "documents": [], "metadatas": []}
    for k in ids:
        shop = SHOPS[k % len(SHOPS)]
        text = f"{shop} line {k} TOTAL {k * 37 % 900 / 10 + rev:.2f}"
        out["ids"].append(f"IMAGE#{k // 20:03d}#LINE#{k:05d}")
        out["embeddings"].append(vector(text))
        out["documents"].append(text)
        out["metadatas"].append({"shop": shop, "line": k, "rev": rev,
                                 "confidence": 0.5 + k % 64 / 128,
                                 "valid": k % 3 != 0})
    return out


def main():
    n, url = int(sys.argv[1]), sys.argv[2].rstrip("/") + BASE
    hnsw = {"space": "cosine"}
    if n in (3, 8):     # small threshold: vectors move to the index files
        hnsw["sync_threshold"] = 10
    c = call(url, {"name": "receipt_lines",
                   "configuration": {"hnsw": hnsw}})["id"]
    first = (n - 1) * 30
    for k in range(first, first + 30, 10):
        call(f"{url}/{c}/add", rows(range(k, k + 10)))
    if n == 5:          # later words on records of the first delta
        call(f"{url}/{c}/upsert", rows(range(0, 6), rev=1))
    if n == 7:          # records of the second delta come and go
        call(f"{url}/{c}/upsert", rows(range(30, 34), rev=2))
        call(f"{url}/{c}/delete",
             {"ids": rows(range(30, 34), rev=2)["ids"]})
    if n == 9:          # metadata and a document change, vectors stay
        r = rows(range(first, first + 3), rev=3)
        del r["embeddings"]
        call(f"{url}/{c}/update", r)


main()
