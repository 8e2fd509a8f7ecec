// chroma.mjs BUILD ROWS SMALL RUNS WHAT VERSION: what chroma.sh measures.
// The vectors lie in clusters, as those of texts do; the same rows go to
// dmerge, as deltas, and to a real server, by upserts of 500.
// SPDX-License-Identifier: ISC
import { spawn } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Server, WORK, begin, copy, run, stages }
    from "../real/lib/server.mjs";
import { text } from "../real/lib/values.mjs";

const [build, rowsArg, smallArg, runsArg, whatArg, version] =
    process.argv.slice(2);
const ROWS = Number(rowsArg), SMALL = Number(smallArg);
const CLUSTERS = 200;
const RUNS = Number(runsArg), BATCH = 500, QUERIES = 500, K = 10;
const FAR = 100000000;		// where the ids of other rows start
const HERE = path.dirname(new URL(import.meta.url).pathname);
const CPUS = os.cpus().length;
const MIB = 1024;		// of KiB
begin(build, "chroma-bench");

const say = (s) => console.log(s);
const median = (v) => [...v].sort((a, b) => a - b)[v.length >> 1];
const must = (r, what) => {
	if (r.status !== 0)
		throw new Error(`${what}: ${r.status}: ${r.err}`);
	return r;
};

// -- the rows ---

async function rows(name, n, dim, clusters, start) {
	const dir = path.join(WORK, name);
	must(await run(path.join(process.env.GEN, "gendelta"), ["--out", dir,
	    "--count", String(n / BATCH), "--records", String(BATCH),
	    "--dim", String(dim), "--space", "cosine",
	    "--clusters", String(clusters), "--text", "300",
	    "--start", String(start ?? 0)]), "gendelta");
	return fs.readdirSync(dir).sort().map((d) => [path.join(dir, d)]);
}

// them again, as bodies of requests, and as vectors
async function* bodies(inputs) {
	for (let i = 0; i < inputs.length; i++) {
		const got = await run("sqlite3", ["-readonly", "-separator",
		    "\x1f", path.join(inputs[i][0], "chroma.sqlite3"),
		    "SELECT json_quote(id), hex(vector), " +
		    "coalesce(json_quote(json_extract(metadata, " +
		    "'$.chroma:document')), 'null'), json_remove(metadata, " +
		    "'$.chroma:document') FROM embeddings_queue " +
		    "ORDER BY seq_id"]);
		const all = must(got, "sqlite3").out.trimEnd().split("\n")
		    .map((s) => s.split("\x1f"));
		const vectors = all.map(([, v]) => floats(v));
		yield { ids: all.map(([id]) => JSON.parse(id)), vectors,
		    body: `{"ids":[${all.map(([id]) => id)}],"embeddings":[` +
		    vectors.map((v) => `[${[...v]}]`) + '],"documents":[' +
		    all.map(([, , d]) => d) + '],"metadatas":[' +
		    all.map(([, , , m]) => m) + "]}" };
	}
}

function floats(hexed) {
	const b = Buffer.from(hexed, "hex");
	return Float32Array.from({ length: b.length / 4 },
	    (_, i) => b.readFloatLE(4 * i));
}

// -- dmerge ---

let streams = 0;
const holders = new Set();

process.on("exit", () => {
	for (const pid of holders)
		process.kill(-pid);
	fs.rmSync(WORK, { recursive: true, force: true });
});

// Staging of our own, held alive, so that dmerge alone can be run on what
// was checked once.
async function checked(inputs, base) {
	const stage = path.join(WORK, `intact.bench${streams++}`);
	fs.mkdirSync(stage, { mode: 0o700 });
	fs.writeFileSync(path.join(stage, "lock"), "");
	const holder = spawn("flock", ["-s", path.join(stage, "lock"),
	    "sleep", "36000"], { stdio: "ignore", detached: true });
	holders.add(holder.pid);
	const stream = stage + ".stream";
	must(await stages(WORK, inputs, "set -e; dfetch " +
	    (base === undefined ? "" : '-b "$BASE" ') + '-f "$PLAN" | ' +
	    'dcheck >"$STREAM"', { DSTAGE: stage, STREAM: stream,
	    BASE: base }), "dcheck");
	return { stage, stream, end() {
		holders.delete(holder.pid);
		process.kill(-holder.pid);
		fs.rmSync(stage, { recursive: true, force: true });
	} };
}

// what dmerge costs on such a stream; out must not be there
async function merge({ stage, stream }, out, options) {
	const log = out + ".log";
	const r = must(await stages(WORK, [], '"$COST" sh -c ' +
	    `'exec dmerge -v -F chroma ${options ?? ""} -o "$OUT" ` +
	    "<\"$STREAM\" >/dev/null 2>\"$LOG\"'", { DSTAGE: stage,
	    STREAM: stream, OUT: out, LOG: log,
	    COST: path.join(HERE, "cost.pl") }),
	    `dmerge (${log})`);
	const [cpu, wall, rss, anon] = r.out.split(" ").map(Number);
	let index = 0;
	for (const m of fs.readFileSync(log, "utf8")
	    .matchAll(/index: .*?([0-9.]+) s cpu/g))
		index += Number(m[1]);
	return { cpu, wall, rss, anon, index };
}

const cost = (c) => `${c.cpu.toFixed(1)} s cpu (index ` +
    `${c.index.toFixed(1)}), ${c.wall.toFixed(1)} s wall, ` +
    `${Math.round(c.rss / MIB)} MiB resident, ` +
    `${Math.round(c.anon / MIB)} MiB of it no mapped file`;

// -- the server ---

function usage(pid) {
	const f = fs.readFileSync(`/proc/${pid}/stat`, "utf8")
	    .replace(/.*\) /, "").split(" ");
	const rss = /^VmHWM:\s+(\d+)/m.exec(fs.readFileSync(
	    `/proc/${pid}/status`, "utf8"))[1];
	return { cpu: (Number(f[11]) + Number(f[12])) / 100,
	    rss: Number(rss) };
}

// the rows go in by upserts; what that cost the server
async function upserts(dir, inputs) {
	fs.mkdirSync(dir);
	const server = await Server.start(version, dir);
	try {
		const c = await server.ask("POST", "/collections",
		    '{"name":"receipt_lines","configuration":{"hnsw":' +
		    '{"space":"cosine"}}}');
		const at = `/collections/${text(c.get("id"))}/upsert`;
		const before = usage(server.child.pid);
		let wall = 0;
		for await (const { body } of bodies(inputs)) {
			const t = performance.now();
			if (await server.ask("POST", at, body) === null)
				throw new Error(server.why);
			wall += (performance.now() - t) / 1000;
		}
		const after = usage(server.child.pid);
		return { cpu: after.cpu - before.cpu, wall, rss: after.rss };
	} finally {
		await server.kill();
	}
}

async function collection(server) {
	const [c] = await server.ask("GET", "/collections");
	return `/collections/${text(c.get("id"))}`;
}

const ask = (server, at, q) => server.ask("POST", `${at}/query`,
    `{"query_embeddings":[[${[...q]}]],"n_results":${K},"include":[]}`);

// milliseconds until the first count and the first query are answered
async function first(dir, q) {
	const fresh = copy(dir, path.join(WORK, "fresh"));
	const server = await Server.start(version, fresh);
	try {
		const at = await collection(server);
		const t0 = performance.now();
		await server.ask("GET", `${at}/count`);
		const t1 = performance.now();
		await ask(server, at, q);
		return [t1 - t0, performance.now() - t1];
	} finally {
		await server.kill();
		fs.rmSync(fresh, { recursive: true });
		fs.rmSync(fresh + ".log");
	}
}

const unit = (v) => {
	const n = Math.hypot(...v);
	return v.map((x) => x / n);
};

// the ids of the K nearest of each query, by looking at all
function exact(ids, all, queries) {
	const units = all.map(unit);
	return queries.map((q) => {
		const u = Float64Array.from(unit(q));
		const d = units.map((v) => {
			let s = 0;
			for (let i = 0; i < u.length; i++)
				s += u[i] * v[i];
			return s;
		});
		const least = Float64Array.from(d).sort()[d.length - K];
		return new Set(ids.filter((_, i) => d[i] >= least));
	});
}

// recall@10 of a directory, searched with ef
async function recall(dir, ef, queries, best) {
	const fresh = copy(dir, path.join(WORK, "asked"));
	must(await run("sqlite3", [path.join(fresh, "chroma.sqlite3"),
	    "UPDATE collections SET schema_str = replace(schema_str, " +
	    `'"ef_search":100', '"ef_search":${ef}')`]), "sqlite3");
	const server = await Server.start(version, fresh);
	try {
		const at = await collection(server);
		let hits = 0;
		for (let i = 0; i < queries.length; i++) {
			const got = await ask(server, at, queries[i]);
			if (got === null)
				throw new Error(server.why);
			for (const id of got.get("ids")[0])
				hits += best[i].has(text(id)) ? 1 : 0;
		}
		return hits / (K * queries.length);
	} finally {
		await server.kill();
		fs.rmSync(fresh, { recursive: true });
		fs.rmSync(fresh + ".log");
	}
}

// -- what is asked for ---

const what = whatArg.split(",");
const has = (s) => what.includes(s);
const load = () => os.loadavg()[0].toFixed(1);
say(`ChromaDB ${version}, ${CPUS} processors, load ${load()}`);

async function large() {
	const dim = 384, inputs = await rows("large", ROWS, dim, CLUSTERS);
	const name = `${ROWS} x ${dim}`;
	const s = await checked(inputs);
	const ours = path.join(WORK, "ours");
	const d = await merge(s, ours, `--threads ${CPUS}`);
	s.end();
	say(`${name}: dmerge: ${cost(d)}`);
	const theirs = path.join(WORK, "theirs");
	if (has("build") || has("open")) {
		const u = await upserts(theirs, inputs);
		say(`${name}: upserts: ${u.cpu.toFixed(1)} s cpu, ` +
		    `${u.wall.toFixed(1)} s wall, ` +
		    `${Math.round(u.rss / MIB)} MiB resident`);
		say(`rows per CPU second: dmerge ${Math.round(ROWS / d.cpu)}` +
		    `, without index ${Math.round(ROWS / (d.cpu - d.index))}` +
		    `; upserts ${Math.round(ROWS / u.cpu)}: ` +
		    `${(u.cpu / d.cpu).toFixed(1)} x, without index ` +
		    `${(u.cpu / (d.cpu - d.index)).toFixed(1)} x`);
	}
	if (has("open")) {
		const [q] = await vectors(await rows("question", BATCH, dim,
		    CLUSTERS, 2 * FAR));
		const t = [[], [], [], []];
		for (let i = 0; i < RUNS; i++)
			for (const [j, dir] of [ours, theirs].entries()) {
				const [a, b] = await first(dir, q);
				t[2 * j].push(a);
				t[2 * j + 1].push(b);
			}
		const [a, b, x, y] = t.map(median);
		say(`first count: ours ${a.toFixed(0)} ms, the server's own ` +
		    `${x.toFixed(0)} ms: ${(a / x).toFixed(2)} x; first ` +
		    `query after it: ${b.toFixed(0)} and ${y.toFixed(0)} ms` +
		    `: ${(b / y).toFixed(2)} x; both: ` +
		    `${((a + b) / (x + y)).toFixed(2)} x (medians of ` +
		    `${RUNS})`);
	}
	fs.rmSync(theirs, { recursive: true, force: true });
	fs.rmSync(ours, { recursive: true, force: true });
	if (has("add"))
		await add(name, inputs, dim);
	fs.rmSync(path.join(WORK, "large"), { recursive: true });
}

async function add(name, inputs, dim) {
	const late = await rows("late", BATCH, dim, CLUSTERS, FAR);
	const target = path.join(WORK, "target");
	must(await stages(WORK, inputs, "exec drun '" +
	    'dfetch -B "$T" -f "$PLAN" | dcheck | dmerge -F chroma | ' +
	    "dpublish \"$T\"'", { T: target }), "publish");
	const all = await checked([...inputs, ...late]);
	const whole = await merge(all, path.join(WORK, "whole"),
	    `--threads ${CPUS}`);
	all.end();
	const some = await checked(late, target);
	const part = await merge(some, path.join(WORK, "part"),
	    `--threads ${CPUS}`);
	some.end();
	const r = must(await stages(WORK, late, '"$COST" sh -c "$RUN"',
	    { T: target, COST: path.join(HERE, "cost.pl"),
	    RUN: "exec drun 'dfetch -b \"$T\" -f \"$PLAN\" | dcheck | " +
	    "dmerge | dpublish \"$T\"' >/dev/null" }), "add");
	const [cpu, wall] = r.out.split(" ");
	say(`${name} + ${BATCH} at once: ${cost(whole)}`);
	say(`${BATCH} onto a base of ${name}: ${cost(part)}: cpu ` +
	    `${(100 * part.cpu / whole.cpu).toFixed(1)} %, wall ` +
	    `${(100 * part.wall / whole.wall).toFixed(1)} %`);
	say(`the same with fetch, check and publish: ${cpu} s cpu, ` +
	    `${wall} s wall`);
	for (const d of ["whole", "part", "target", "late"])
		fs.rmSync(path.join(WORK, d), { recursive: true });
}

async function vectors(inputs) {
	const out = [];
	for await (const b of bodies(inputs))
		out.push(...b.vectors);
	return out;
}

async function small(dim, clusters) {
	const inputs = await rows("small", SMALL, dim, clusters);
	const name = `${SMALL} x ${dim} in ${clusters} clusters`;
	const s = await checked(inputs);
	const ours = path.join(WORK, "ours");
	await merge(s, ours);
	if (has("threads") && clusters === CLUSTERS)
		await threads(s, name);
	s.end();
	if (has("recall")) {
		const theirs = path.join(WORK, "theirs");
		await upserts(theirs, inputs);
		const ids = [], all = [];
		for await (const b of bodies(inputs)) {
			ids.push(...b.ids);
			all.push(...b.vectors);
		}
		const queries = (await vectors(await rows("question", BATCH,
		    dim, clusters, 2 * FAR))).slice(0, QUERIES);
		fs.rmSync(path.join(WORK, "question"), { recursive: true });
		const best = exact(ids, all, queries);
		for (const ef of [100, 20, 10]) {
			const a = await recall(ours, ef, queries, best);
			const b = await recall(theirs, ef, queries, best);
			say(`recall@${K}, ${name}, ef_search ${ef}: ours ` +
			    `${a.toFixed(4)}, the server's own ` +
			    b.toFixed(4));
		}
		fs.rmSync(theirs, { recursive: true });
	}
	for (const d of ["ours", "small"])
		fs.rmSync(path.join(WORK, d), { recursive: true });
}

async function threads(s, name) {
	const seen = new Set();
	let line = "";
	for (const n of [1, 2, 4]) {
		const out = path.join(WORK, `threads-${n}`);
		const c = await merge(s, out, `--threads ${n}`);
		const sum = crypto.createHash("sha256");
		for (const f of fs.readdirSync(out, { recursive: true })
		    .sort()) {
			const at = path.join(out, f);
			if (fs.statSync(at).isFile())
				sum.update(`${f}\n`).update(
				    fs.readFileSync(at));
		}
		seen.add(sum.digest("hex"));
		line += ` ${n}: ${c.wall.toFixed(1)} s wall,`;
		fs.rmSync(out, { recursive: true });
	}
	say(`threads, ${name}:${line} ` + (seen.size === 1 ?
	    "the same bytes" : `${seen.size} DIFFERENT directories`));
}

if (has("build") || has("open") || has("add"))
	await large();
// the fewer the clusters, the harder to find one's way in them
for (const [dim, clusters] of [[384, CLUSTERS], [384, 20], [1536, 20]])
	if (has("recall") || has("threads") && clusters === CLUSTERS)
		await small(dim, clusters);
say(`load at the end ${load()}`);
process.exit(0);
