// server.mjs: real ChromaDB servers, what they answer, and random writes
// to them; and what the pipeline makes of a directory.  It judges nothing:
// judge.mjs and the tests do.
// SPDX-License-Identifier: ISC
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { isString, parse, text } from "./values.mjs";

const ROOT = "/api/v2/tenants/default_tenant/databases/default_database";
const PAGE = 10000;		// records of one answer
const running = new Set();
let SETUP, BIN;
export let WORK;		// ours alone; the caller removes it
process.env.ANONYMIZED_TELEMETRY = "False";

// the build directory, and the name of whoever works here
export function begin(build, name) {
	build = path.resolve(build);
	SETUP = process.env.CHROMA ?? path.join(build, "chroma");
	BIN = path.join(build, "bin");
	WORK = fs.mkdtempSync(path.join(os.tmpdir(), `${name}.`));
	process.env.DCACHE = path.join(WORK, "cache");
	for (const s of ["SIGINT", "SIGTERM", "SIGHUP"])
		process.on(s, () => {
			for (const p of running)
				p.kill("SIGKILL");
			process.exit(130);
		});
}

// -- chance: the same seed, the same history ---

export class Chance {
	constructor(seed) { this.s = seed >>> 0; }
	real() {
		this.s = (this.s + 0x6d2b79f5) >>> 0;
		let t = Math.imul(this.s ^ this.s >>> 15, this.s | 1);
		t ^= t + Math.imul(t ^ t >>> 7, t | 61);
		return ((t ^ t >>> 14) >>> 0) / 4294967296;
	}
	below(n) { return Math.floor(this.real() * n); }
	from(lo, hi) { return lo + this.below(hi - lo + 1); }
	maybe(p) { return this.real() < p; }
	pick(v) { return v[this.below(v.length)]; }
}

// -- a server ---

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

export function freePort() {
	return new Promise((resolve) => {
		const s = net.createServer().listen(0, "127.0.0.1", () => {
			const { port } = s.address();
			s.close(() => resolve(port));
		});
	});
}

export class Server {
	static async start(version, dir) {
		const me = new Server();
		const own = path.join(SETUP, "node");
		const run = 'require(process.argv[1]).cli(["chroma", "run", ' +
		    '"--path", process.argv[2], "--host", "127.0.0.1", ' +
		    '"--port", process.argv[3]]);';
		const port = await freePort();
		const log = fs.openSync(dir + ".log", "a");
		me.base = `http://127.0.0.1:${port}`;
		me.child = spawn(fs.existsSync(own) ? own : process.execPath,
		    ["-e", run, path.join(SETUP, version), dir, String(port)],
		    { stdio: ["ignore", log, log] });
		fs.closeSync(log);
		running.add(me.child);
		me.gone = new Promise((r) => me.child.on("exit", r));
		me.gone.then(() => {
			me.dead = true;
			running.delete(me.child);
		});
		for (let i = 0; i < 600 && !me.dead; i++) {
			try {
				await fetch(me.base + "/api/v2/heartbeat");
				return me;
			} catch { await sleep(25); }
		}
		await me.kill();
		throw new Error(`no server ${version}: ${dir}.log`);
	}
	async kill(signal = "SIGKILL") {
		if (signal !== "SIGKILL") {
			this.child.kill(signal);
			// newer ones take note of it and stay
			await Promise.race([this.gone, sleep(150)]);
		}
		this.child.kill("SIGKILL");
		await this.gone;
	}
	// the parsed answer; null when the server refused
	async ask(method, where, body) {
		const r = await fetch(this.base + ROOT + where, { method, body,
		    headers: { "content-type": "application/json" },
		    signal: AbortSignal.timeout(30000) });
		const t = await r.text();
		if (!r.ok) {
			this.why = `${r.status} ${t.slice(0, 300)}`;
			return null;
		}
		return t === "" ? new Map() : parse(t);
	}
	// one collection; of more ids at once SQLite has enough
	async page(c) {
		const all = records(c);
		for (let n = 0; all.records.size === n; n += PAGE) {
			const got = await this.ask("POST", "/collections/" +
			    text(c.get("id")) + "/get", '{"include":[' +
			    '"embeddings","documents","metadatas","uris"],' +
			    `"limit":${PAGE},"offset":${n}}`);
			if (got === null)
				throw new Error("get: " + this.why);
			for (const [id, r] of records(c, got).records)
				all.records.set(id, r);
		}
		return all;
	}
	// all that it holds: name -> { close, records: id -> record }
	async all() {
		const out = new Map();
		const list = await this.ask("GET", "/collections?limit=1000");
		if (list === null)
			throw new Error("list: " + this.why);
		for (const c of list) {
			out.set(text(c.get("name")), await this.page(c));
		}
		return out;
	}
}

export function records(coll, got) {
	const config = coll.get("configuration_json");
	const out = new Map();
	got?.get("ids").forEach((id, i) => {
		const column = (name) => got.get(name)?.[i] ?? "null";
		const meta = column("metadatas");
		const m = meta instanceof Map ? new Map(meta) : new Map();
		const uri = column("uris");
		if (isString(uri))
			m.set("chroma:uri", uri);
		out.set(text(id), {
			vector: Float32Array.from(column("embeddings"),
			    (x) => Number(x.slice(2))),
			document: text(column("documents")),
			meta: m,
		});
	});
	const space = text(config.get("hnsw")?.get("space"));
	return { space, close: space === "cosine", records: out };
}

// -- random writes ---

export const WORDS = ["", "a", "line one\nline two", "ключ", "漢字かな", "é",
    "e\u0301", "🎉🏳️‍🌈", "nul\u0000inside", "'\"\\/", "\u0001\u001f\u007f",
    "\ufeffbom", "\u2028", "{}", "null", "1", "%s%n", "z".repeat(5000)];
export const INTS = ["0", "-1", "1", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "2147483648", "42"];
export const FLOATS = ["0.0", "-0.0", "1.0", "0.1", "1e308", "5e-324", "1e16",
    "-2.5", "3.141592653589793", "1.7976931348623157e308",
    "18446744073709551615.0", "123456789012345680.0"];

export class Writer {
	constructor(chance, version) {
		this.c = chance;
		this.arrays = /^1\.([3-9]|\d\d)\./.test(version);
		this.uris = chance.maybe(0.3);
		this.kinds = ["add", "add", "upsert", "upsert", "update",
		    "update", "delete"];
		this.thresholds = [2, 2, 3, 5, 8, 20, 50, 100, 1000];
		this.colls = [];
		this.sent = this.taken = this.names = 0;
	}
	id() {
		const c = this.c, n = c.below(this.span);
		switch (n % 9) {
		case 0: return `ключ-é-漢-🎉-${n}`;
		case 1: return ` "${n}' \\ `;
		case 2: return `${n}\u0000${n}`;
		case 3: return `A${n}`;
		case 4: return `a${n}`;
		case 5: return String(n);
		case 6: return `${"long".repeat(this.long ?? 80)}${n}`;
		default: return `id-${n}`;
		}
	}
	number() {
		return this.c.maybe(0.3) ? this.c.pick(FLOATS) :
		    String((this.c.real() - 0.5) * 10 ** this.c.from(-20, 20));
	}
	scalar() {
		const c = this.c;
		switch (c.below(4)) {
		case 0: return JSON.stringify(c.pick(WORDS) + c.pick(WORDS));
		case 1: return c.maybe(0.5) ? c.pick(INTS) :
		    String(c.from(-1000, 1000));
		case 2: return this.number();
		default: return String(c.maybe(0.5));
		}
	}
	array() {
		const c = this.c, n = c.from(1, 5), v = [];
		const one = c.pick([() => JSON.stringify(c.pick(WORDS)),
		    () => c.pick(INTS), () => c.pick(FLOATS),
		    () => String(c.maybe(0.5))]);
		for (let i = 0; i < n; i++)
			v.push(one());
		return `[${v}]`;
	}
	meta(nulls) {
		const c = this.c, m = [];
		const keys = ["k", "n", "page", "источник", "a b", "x.y",
		    "Ключ", "q\"", "t", "u"];
		for (const k of keys) {
			if (c.maybe(0.65))
				continue;
			m.push(JSON.stringify(k) + ":" +
			    (nulls && c.maybe(0.25) ? "null" :
			    this.arrays && c.maybe(0.2) ? this.array() :
			    this.scalar()));
		}
		return m.length === 0 && c.maybe(0.5) ? "null" :
		    `{${m.join(",")}}`;
	}
	vector(dim) {
		const c = this.c, v = [];
		const scale = 10 ** c.from(-6, 6);
		for (let i = 0; i < dim; i++)
			v.push(Math.fround((c.real() - 0.5) * scale));
		if (c.maybe(0.05))
			v.fill(0);
		if (c.maybe(0.05))
			v[c.below(dim)] = c.pick([-0, 1, -1, 1e-38, 1e15]);
		return "[" + v.map((x) => Object.is(x, -0) ? "-0.0" :
		    String(x)) + "]";
	}
	async create(server) {
		const c = this.c;
		const n = c.pick(this.thresholds);
		const name = `coll-${this.names++}`;
		const r = await server.ask("POST", "/collections",
		    JSON.stringify({ name,
		    metadata: c.maybe(0.5) ? { note: "ü", n: 1 } : undefined,
		    configuration: { hnsw: {
			space: c.pick(["l2", "cosine", "ip"]),
			sync_threshold: n,
			batch_size: Math.min(n, c.from(2, 100)) } } }));
		if (r === null)
			throw new Error("create: " + server.why);
		this.colls.push({ id: text(r.get("id")), name,
		    dim: c.pick([1, 2, 3, 7, 16, 33, 64]) });
	}
	// one batch as it goes over the wire: [method, path, body, coll]
	batch(big) {
		const c = this.c, coll = c.pick(this.colls);
		const kind = c.pick(this.kinds);
		const ids = [], n = c.from(1, big ? 60 : c.pick([1, 5, 25]));
		for (let i = 0; i < n; i++) {
			const id = this.id();
			if (!ids.includes(id) || c.maybe(0.02))
				ids.push(id);
		}
		const body = [];
		const per = (name, f) => body.push(`"${name}":[` +
		    ids.map(f) + "]");
		if (kind === "delete" && c.maybe(0.1))
			body.push('"where":{"n":{"$gt":0}}');
		else
			per("ids", (id) => JSON.stringify(id));
		if (kind === "add" || kind === "upsert")
			per("embeddings", () => this.vector(coll.dim));
		else if (kind === "update" && c.maybe(0.5))
			per("embeddings", () => c.maybe(0.3) ? "null" :
			    this.vector(coll.dim));
		if (kind !== "delete" && c.maybe(0.7))
			per("documents", () => c.maybe(0.2) ? "null" :
			    JSON.stringify(c.pick(WORDS) + c.pick(WORDS)));
		if (kind !== "delete" && c.maybe(0.8))
			per("metadatas", () => this.meta(kind !== "add"));
		if (kind !== "delete" && this.uris)
			per("uris", (id, i) => c.maybe(0.5) ? "null" :
			    `"file:///${i}"`);
		return ["POST", `/collections/${coll.id}/${kind}`,
		    `{${body}}`];
	}
	async send(server, b) {
		this.sent++;
		if (await server.ask(...b) !== null)
			this.taken++;
		else if (process.env.VERBOSE)
			console.error(b[1], server.why);
	}
	async some(server, n) {
		const c = this.c;
		for (let i = 0; i < n; i++) {
			if (this.colls.length === 0 ||
			    this.colls.length < 4 && c.maybe(0.02))
				await this.create(server);
			else if (this.drops && this.colls.length > 1 &&
			    c.maybe(0.01)) {
				const gone = this.colls.splice(c.below(
				    this.colls.length), 1)[0];
				await server.ask("DELETE",
				    `/collections/${gone.name}`);
			} else if (c.maybe(0.01)) {
				const x = c.pick(this.colls);
				const to = `coll-${this.names++}`;
				if (await server.ask("PUT",
				    `/collections/${x.id}`,
				    JSON.stringify({ new_name: to })) !== null)
					x.name = to;
			} else
				await this.send(server, this.batch(false));
		}
	}
	// batches only: the collections stay what they are
	async batches(server, n) {
		for (let i = 0; i < n; i++)
			await this.send(server, this.batch(false));
	}
	async history(server) {
		const c = this.c;
		this.span = c.pick([9, 30, 120, 400]);
		for (let i = c.from(1, 3); i > 0; i--)
			await this.create(server);
		await this.some(server, c.from(3, c.pick([8, 40, 80])));
	}
}

// -- what the pipeline makes of it ---

export function run(file, args, options = {}) {
	return new Promise((resolve) => {
		execFile(file, args, { maxBuffer: 1 << 30, ...options },
		    (e, out, err) => resolve({ out, err,
			status: e === null ? 0 : e.code ?? e.signal }));
	});
}

let outs = 0;
// Run stages in a shell of theirs: $PLAN names the inputs, each
// [directory, seq], or [directory] alone where seq is none of ours to say.
export async function stages(work, inputs, command, env) {
	const plan = path.join(work, `plan-${outs++}`);
	fs.writeFileSync(plan, inputs.map(([dir, seq]) =>
	    seq === undefined ? `${dir}\n` : `${dir}\tseq=${seq}\n`)
	    .join(""));
	return run("sh", ["-c", command], { env: { ...process.env,
	    PATH: `${BIN}:${process.env.PATH}`, PLAN: plan, TMPDIR: work,
	    ...env } });
}

// Inputs merged into a directory: the status of the last stage, stderr,
// and where it is.  check and merge are options of dcheck and dmerge.
export async function pipeline(work, inputs, check, merge) {
	const out = path.join(work, `out-${outs++}`);
	const r = await stages(work, inputs, 'dfetch -f "$PLAN" | ' +
	    'dcheck --no-cache $CHECK | dmerge $MERGE -o "$OUT" --json',
	    { OUT: out, CHECK: check ?? "", MERGE: merge ?? "-F sqlite" });
	return { ...r, store: path.join(out, "store.sqlite3"), out };
}

export const manifest = (dir) =>
    JSON.parse(fs.readFileSync(path.join(dir, "manifest.json"), "utf8"));

export async function sql(file, query) {
	const r = await run("sqlite3", ["-readonly", file, query]);
	if (r.status !== 0)
		throw new Error(`sqlite3 ${file}: ${r.err}`);
	return r.out.split("\n").filter((s) => s !== "")
	    .map((s) => s.split("|"));
}

export const hex = (s) => Buffer.from(s, "hex");

// the records view, in the shape of Server.all
export async function view(store) {
	const out = new Map();
	for (const [c, id, v, d, m] of await sql(store, "SELECT " +
	    "hex(collection), hex(id), hex(embedding), CASE WHEN document " +
	    "IS NULL THEN 'none' ELSE hex(document) END, hex(metadata) " +
	    "FROM records")) {
		const name = hex(c).toString(), bytes = hex(v);
		const at = out.get(name) ?? new Map();
		out.set(name, at);
		at.set(hex(id).toString(), {
			vector: Float32Array.from({ length: bytes.length / 4 },
			    (_, i) => bytes.readFloatLE(4 * i)),
			document: d === "none" ? null : hex(d).toString(),
			meta: parse(hex(m).toString()),
		});
	}
	return out;
}

// what a directory's queue still deletes: name -> Set of ids
export async function deletions(dir) {
	const out = new Map();
	for (const [c, id, op] of await sql(path.join(dir, "chroma.sqlite3"),
	    "SELECT hex(c.name), hex(q.id), q.operation FROM " +
	    "embeddings_queue q JOIN collections c ON q.topic = " +
	    "'persistent://default/default/' || c.id ORDER BY q.seq_id")) {
		const name = hex(c).toString(), at = out.get(name) ?? new Set();
		out.set(name, at);
		if (op === "3")
			at.add(hex(id).toString());
		else if (op !== "1")	// an update brings nothing back
			at.delete(hex(id).toString());
	}
	return out;
}

export const copy = (from, to) => {
	fs.cpSync(from, to, { recursive: true, preserveTimestamps: true });
	return to;
};

// the same collections with the same spaces in another directory
export async function remake(server, old, writer) {
	const c = writer.c, spaces = new Map();
	for (const [name, schema] of await sql(path.join(old,
	    "chroma.sqlite3"), "SELECT name, hex(CASE WHEN config_json_str " +
	    "LIKE '%\"space\"%' THEN config_json_str ELSE " +
	    (await hasSchema(old) ? "schema_str" : "''") +
	    " END) FROM collections"))
		spaces.set(name, /"space":"(\w+)"/.exec(
		    hex(schema).toString())[1]);
	for (const x of writer.colls) {
		const n = c.pick(writer.thresholds);
		const r = await server.ask("POST", "/collections",
		    JSON.stringify({ name: x.name, configuration: { hnsw: {
			space: spaces.get(x.name), sync_threshold: n,
			batch_size: Math.min(n, 100) } } }));
		if (r === null)
			throw new Error("create: " + server.why);
		x.id = text(r.get("id"));
	}
}

export async function hasSchema(dir) {
	return (await sql(path.join(dir, "chroma.sqlite3"), "SELECT 1 FROM " +
	    "pragma_table_info('collections') WHERE name = 'schema_str'"))
	    .length !== 0;
}
