// chroma-read.mjs BUILD SEED ROUNDS JOBS VERSION...: random histories
// against real ChromaDB servers (chroma-read.sh brings them).  What the
// server says it holds must be what the pipeline reads from the directory
// that it left: bits of vectors, documents, types of metadata; no more, no
// less.  It takes part in the writing alone: reading is the programs' job.
// SPDX-License-Identifier: ISC
import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const [build, seedArg, roundsArg, jobsArg, ...versions] =
    process.argv.slice(2);
const FIRST = Number(seedArg), ROUNDS = Number(roundsArg);
const SETUP = path.join(build, "chroma"), BIN = path.join(build, "bin");
const ROOT = "/api/v2/tenants/default_tenant/databases/default_database";
const WORK = fs.mkdtempSync(path.join(os.tmpdir(), "chroma-read."));
const KINDS = ["clean", "idle", "live", "mid", "mid", "grown", "fresh"];
const TOLERANCE = 4e-7;		// cosine vectors come back scaled
const TINY = 1e-18;
const running = new Set();
process.env.ANONYMIZED_TELEMETRY = "False";
process.env.DCACHE = path.join(WORK, "cache");

// -- chance: the same seed, the same history --------------------------------

class Chance {
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

// -- values that tell 1, 1.0, true and "1" apart -----------------------------

// JSON text to text in which equal means equal, type for type; objects
// become Maps and arrays stay, so that the callers can look inside.
function parse(s) {
	let i = 0;
	const blank = () => { while (" \t\r\n".includes(s[i])) i++; };
	const value = () => {
		blank();
		if (s[i] === "{") {
			const m = new Map();
			for (i++, blank(); s[i] !== "}"; blank()) {
				const k = string();
				blank();
				i++;
				m.set(k, value());
				blank();
				if (s[i] === ",") { i++; blank(); }
			}
			i++;
			return m;
		}
		if (s[i] === "[") {
			const v = [];
			for (i++, blank(); s[i] !== "]"; blank()) {
				v.push(value());
				blank();
				if (s[i] === ",") i++;
			}
			i++;
			return v;
		}
		if (s[i] === '"')
			return "s:" + string();
		const m = /[^\s,\]}]+/y;
		m.lastIndex = i;
		const t = m.exec(s)[0];
		i = m.lastIndex;
		if (/^[tfn]/.test(t))
			return t;
		if (!/[.eE]/.test(t))
			return "i:" + BigInt(t);
		return Object.is(Number(t), -0) ? "f:-0" : "f:" + Number(t);
	};
	const string = () => {
		const from = i;
		for (i++; s[i] !== '"'; i++)
			if (s[i] === "\\")
				i++;
		return JSON.parse(s.slice(from, ++i));
	};
	return value();
}

const isString = (v) => typeof v === "string" && v.startsWith("s:");
const text = (v) => isString(v) ? v.slice(2) : null;

// are two parsed values equal?  slack: floats may be 1 ulp off
function same(a, b, slack) {
	if (Array.isArray(a))
		return Array.isArray(b) && a.length === b.length &&
		    a.every((x, i) => same(x, b[i], slack));
	if (a === b || !slack || !String(a).startsWith("f:") ||
	    !String(b).startsWith("f:"))
		return a === b;
	const x = Number(a.slice(2)), y = Number(b.slice(2));
	return Math.abs(x - y) <= Math.max(Math.abs(x) * 2.3e-16, 5e-324);
}

function sameMeta(a, b, slack) {
	if (a.size !== b.size)
		return false;
	for (const [k, v] of a)
		if (!b.has(k) || !same(v, b.get(k), slack))
			return false;
	return true;
}

const shown = (m) => JSON.stringify(m instanceof Map ? [...m] : m);

function sameVector(want, got, close) {
	if (want.length !== got.length)
		return false;
	// scaled, small parts of it are but few bits, and all of a vector
	// whose square is nothing in float32 may go
	const least = TINY + 3e-45 * Math.hypot(...got);
	for (let i = 0; i < want.length; i++)
		if (!Object.is(want[i], got[i]) && !(close &&
		    Math.abs(want[i] - got[i]) <=
		    TOLERANCE * Math.abs(want[i]) + least))
			return false;
	return true;
}

// -- a server ---------------------------------------------------------------

const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

function freePort() {
	return new Promise((resolve) => {
		const s = net.createServer().listen(0, "127.0.0.1", () => {
			const { port } = s.address();
			s.close(() => resolve(port));
		});
	});
}

class Server {
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
	// all that it holds: name -> { close, records: id -> record }
	async all() {
		const out = new Map();
		const list = await this.ask("GET", "/collections?limit=1000");
		if (list === null)
			throw new Error("list: " + this.why);
		for (const c of list) {
			const got = await this.ask("POST", "/collections/" +
			    text(c.get("id")) + "/get", '{"include":[' +
			    '"embeddings","documents","metadatas","uris"]}');
			if (got === null)
				throw new Error("get: " + this.why);
			out.set(text(c.get("name")), records(c, got));
		}
		return out;
	}
}

function records(coll, got) {
	const config = coll.get("configuration_json");
	const out = new Map();
	got.get("ids").forEach((id, i) => {
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
	return { close: config.get("hnsw")?.get("space") === "s:cosine",
	    records: out };
}

// -- random writes -----------------------------------------------------------

const WORDS = ["", "a", "line one\nline two", "ключ", "漢字かな", "é",
    "e\u0301", "🎉🏳️‍🌈", "nul\u0000inside", "'\"\\/", "\u0001\u001f\u007f",
    "\ufeffbom", "\u2028", "{}", "null", "1", "%s%n", "z".repeat(5000)];
const INTS = ["0", "-1", "1", "9007199254740993", "9223372036854775807",
    "-9223372036854775808", "2147483648", "42"];
const FLOATS = ["0.0", "-0.0", "1.0", "0.1", "1e308", "5e-324", "1e16",
    "-2.5", "3.141592653589793", "1.7976931348623157e308",
    "18446744073709551615.0", "123456789012345680.0"];

class Writer {
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
		case 6: return `${"long".repeat(80)}${n}`;
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

// -- what the pipeline makes of it --------------------------------------------

function run(file, args, options = {}) {
	return new Promise((resolve) => {
		execFile(file, args, { maxBuffer: 1 << 30, ...options },
		    (e, out, err) => resolve({ out, err,
			status: e === null ? 0 : e.code ?? e.signal }));
	});
}

let outs = 0;
// inputs: [directory, seq]...; the status of the last, stderr, and out
async function pipeline(work, inputs, options) {
	const out = path.join(work, `out-${outs++}`), plan = out + ".plan";
	const env = { ...process.env, PATH: `${BIN}:${process.env.PATH}`,
	    OUT: out, PLAN: plan, CHECK: options ?? "",
	    TMPDIR: work };
	fs.writeFileSync(plan, inputs.map(([dir, seq]) =>
	    `${dir}\tseq=${seq}\n`).join(""));
	const r = await run("sh", ["-c", 'dfetch -f "$PLAN" | ' +
	    'dcheck --no-cache $CHECK | dmerge -o "$OUT" --json'], { env });
	return { ...r, store: path.join(out, "store.sqlite3"), out };
}

async function sql(file, query) {
	const r = await run("sqlite3", ["-readonly", file, query]);
	if (r.status !== 0)
		throw new Error(`sqlite3 ${file}: ${r.err}`);
	return r.out.split("\n").filter((s) => s !== "")
	    .map((s) => s.split("|"));
}

const hex = (s) => Buffer.from(s, "hex");

// the records view, in the shape of Server.all
async function view(store) {
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
async function deletions(dir) {
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

// differences of want (Server.all) and got (view), in words
function compare(want, got, slack) {
	const bad = [];
	let n = 0;
	for (const [name, { close, records: w }] of want) {
		const g = got.get(name) ?? new Map();
		for (const [id, r] of w) {
			const x = g.get(id);
			const at = `${name} ${JSON.stringify(id)}`;
			n++;
			if (x === undefined) {
				bad.push(`${at}: not there`);
				continue;
			}
			if (!sameVector(r.vector, x.vector, close))
				bad.push(`${at}: vector: want ${r.vector}, ` +
				    `got ${x.vector}`);
			if (r.document !== x.document)
				bad.push(`${at}: document: want ` +
				    `${shown(r.document)}, got ` +
				    shown(x.document));
			if (!sameMeta(r.meta, x.meta, slack))
				bad.push(`${at}: metadata: want ` +
				    `${shown(r.meta)}, got ${shown(x.meta)}`);
		}
		for (const id of g.keys())
			if (!w.has(id))
				bad.push(`${name} ${JSON.stringify(id)}: ` +
				    "not expected");
	}
	for (const [name, g] of got)
		if (!want.has(name))
			bad.push(`${name}: ${g.size} records, not expected`);
	return { bad, n };
}

const size = (all) =>
    [...all.values()].reduce((n, c) => n + c.records.size, 0);

// -- histories ---------------------------------------------------------------

const copy = (from, to) => {
	fs.cpSync(from, to, { recursive: true, preserveTimestamps: true });
	return to;
};

// what a server says of a directory when it has just been started on it
async function restarted(h, dir) {
	const server = await Server.start(h.version,
	    copy(dir, `${dir}-restarted-${outs++}`));
	try {
		return await server.all();
	} finally {
		await server.kill();
	}
}

// The directory must merge to want.  A server that has been running may
// keep a vector of an UPDATE before the ADD that no file holds: when it
// is at odds with itself, what again returns is right: its answer after
// a restart.
async function mustRead(h, what, inputs, want, options, again) {
	const r = await pipeline(h.work, inputs, size(want) === 0 ?
	    `${options ?? ""} --allow-empty` : options);
	if (r.status !== 0) {
		h.bad.push(`${what}: status ${r.status}: ${r.err.trim()}`);
		return null;
	}
	const got = await view(r.store);
	const slack = options?.includes("--recover-hot");
	let { bad, n } = compare(want, got, slack);
	if (again !== undefined && bad.length !== 0 &&
	    bad.every((s) => /: vector: /.test(s)) &&
	    compare(await again(), got, slack).bad.length === 0) {
		h.odds += bad.length;
		bad = [];
	}
	h.bad.push(...bad.map((s) => `${what}: ${s}`));
	h.records += n;
	return /"content_digest":"([0-9a-f]*)"/.exec(r.out)?.[1];
}

// SIGKILL while batches are on their way
async function killedMidway(h, server, writer, dir) {
	const c = h.chance, flying = [];
	for (let i = c.from(2, 12); i > 0; i--)
		flying.push(writer.send(server, writer.batch(true))
		    .catch(() => {}));
	await sleep(c.from(0, c.pick([5, 30, 120])));
	await server.kill();
	await Promise.all(flying);
	const want = await restarted(h, dir)
	    .catch((e) => { h.server = String(e); return null; });
	const before = fs.readdirSync(dir).join();
	if (want === null) {
		// its own server cannot read it: nothing to compare with
		const r = await pipeline(h.work, [[dir, 1]], "--recover-hot");
		h.notes.push(`its server cannot read it (${h.server}); ` +
		    `dcheck: ${r.err.trim() || "accepted"}`);
		h.unreadable = true;
		return;
	}
	const r = await pipeline(h.work, [[dir, 1]], "--allow-empty");
	if (r.status === 0) {
		const { bad, n } = compare(want, await view(r.store), true);
		h.bad.push(...bad.map((s) => `killed, accepted: ${s}`));
		h.records += n;
	} else if (/: hot: /.test(r.err)) {
		h.hot = true;
		await mustRead(h, "killed, recovered", [[dir, 1]], want,
		    "--recover-hot");
	} else
		h.bad.push(`killed: ${r.err.trim()}`);
	if (fs.readdirSync(dir).join() !== before)
		h.bad.push("the input itself was changed");
}

// what an older and a newer delta make together
function overlaid(oldAll, youngAll, gone) {
	const want = new Map();
	for (const [name, { close, records: r }] of oldAll)
		want.set(name, { close, records: new Map([...r].filter(
		    ([id]) => !gone.get(name)?.has(id))) });
	for (const [name, { close, records: r }] of youngAll)
		want.set(name, { close, records: new Map([
		    ...want.get(name)?.records ?? [], ...r]) });
	return want;
}

// an older delta and a newer one, given in either order
async function mustMerge(h, old, oldAll, young, youngAll) {
	const gone = await deletions(young);
	const want = overlaid(oldAll, youngAll, gone);
	const again = async () => overlaid(await restarted(h, old),
	    await restarted(h, young), gone);
	for (const [name, ids] of gone)
		for (const id of ids)
			h.deleted += oldAll.get(name)?.records.has(id) ? 1 : 0;
	const a = await mustRead(h, "old then new",
	    [[old, 1], [young, 2]], want, "--allow-empty", again);
	const b = await mustRead(h, "new then old",
	    [[young, 2], [old, 1]], want, "--allow-empty", again);
	if (a !== b)
		h.bad.push(`content digest: ${a} in one order, ${b} in the ` +
		    "other");
}

async function history(h) {
	const c = h.chance, dir = path.join(h.work, "db");
	fs.mkdirSync(dir);
	let server = await Server.start(h.version, dir);
	const writer = new Writer(c, h.version);
	const pair = h.kind === "grown" || h.kind === "fresh";
	// Arrays of a dropped collection stay, and show up in records that
	// a server applies to the same rows later, on its restart: those
	// are not what their writer wrote, and not what is read.
	writer.drops = h.kind !== "mid";
	// so that deletions are still in the queue
	if (pair)
		writer.thresholds = [5, 100, 1000, 1000];
	try {
		await writer.history(server);
		while (c.maybe(0.3)) {
			await server.kill();
			// now and then a newer server takes over
			if (c.maybe(0.5)) {
				h.version = c.pick(versions.slice(
				    versions.indexOf(h.version)));
				h.upgraded = true;
			}
			server = await Server.start(h.version, dir);
			await writer.some(server, c.from(1, 10));
		}
		if (h.kind === "mid") {
			await killedMidway(h, server, writer, dir);
			return;
		}
		const want = await server.all();
		if (h.kind === "live") {
			await mustRead(h, "live", [[dir, 1]], want, "",
			    () => restarted(h, dir));
			return;
		}
		await server.kill(h.kind === "clean" ? "SIGTERM" : "SIGKILL");
		await mustRead(h, h.kind, [[dir, 1]], want, "",
		    () => restarted(h, dir));
		if (!pair)
			return;
		writer.kinds = ["add", "upsert", "update", "delete", "delete"];
		const old = copy(dir, path.join(h.work, "old"));
		if (h.kind === "fresh") {
			// a delta of the same collections, made from nothing
			const young = path.join(h.work, "young");
			fs.mkdirSync(young);
			server = await Server.start(h.version, young);
			await remake(server, old, writer);
			await writer.batches(server, c.from(3, 30));
			const all = await server.all();
			await server.kill();
			await mustMerge(h, old, want, young, all);
		} else {
			server = await Server.start(h.version, dir);
			await writer.batches(server, c.from(3, 30));
			const all = await server.all();
			await server.kill();
			await mustMerge(h, old, want, dir, all);
		}
	} finally {
		await server.kill();
		h.sent = writer.sent;
		h.taken = writer.taken;
	}
}

// the same collections with the same spaces in another directory
async function remake(server, old, writer) {
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

async function hasSchema(dir) {
	return (await sql(path.join(dir, "chroma.sqlite3"), "SELECT 1 FROM " +
	    "pragma_table_info('collections') WHERE name = 'schema_str'"))
	    .length !== 0;
}

const total = { bad: 0, records: 0, sent: 0, taken: 0, hot: 0, dead: 0,
    deleted: 0, upgraded: 0, odds: 0 };
const by = new Map();

async function one(i) {
	const seed = FIRST + i;
	const h = { seed, kind: KINDS[Math.floor(seed / versions.length) %
	    KINDS.length], version: versions[seed % versions.length],
	    chance: new Chance(Math.imul(seed, 2654435761)), bad: [],
	    notes: [], records: 0, deleted: 0, odds: 0,
	    work: path.join(WORK, String(seed)) };
	const first = h.version;
	fs.mkdirSync(h.work);
	try {
		await history(h);
	} catch (e) { h.bad.push(e.stack); }
	const key = `${first} ${h.kind}`;
	by.set(key, (by.get(key) ?? 0) + 1);
	total.records += h.records;
	total.sent += h.sent ?? 0;
	total.taken += h.taken ?? 0;
	total.hot += h.hot ? 1 : 0;
	total.dead += h.unreadable ? 1 : 0;
	total.deleted += h.deleted;
	total.odds += h.odds;
	total.upgraded += h.upgraded ? 1 : 0;
	const who = `seed ${seed} (${first}${h.version === first ? "" :
	    " to " + h.version}, ${h.kind})`;
	for (const s of h.notes)
		console.log(`${who}: note: ${s}`);
	if (h.bad.length === 0 && !h.unreadable) {
		fs.rmSync(h.work, { recursive: true, force: true });
		return;
	}
	if (h.bad.length !== 0)
		total.bad++;
	for (const s of h.bad.slice(0, 8))
		console.log(`${who}: ${s.slice(0, 2000)}`);
	console.log(`${who}: ${h.bad.length} differences, left in ${h.work}`);
}

for (const s of ["SIGINT", "SIGTERM", "SIGHUP"])
	process.on(s, () => {
		for (const p of running)
			p.kill("SIGKILL");
		process.exit(130);
	});

let next = 0;
await Promise.all(Array.from({ length: Number(jobsArg) }, async () => {
	while (next < ROUNDS)
		await one(next++);
}));
console.log([...by].sort().map(([k, n]) => `${k}: ${n}`).join(", "));
console.log(`${ROUNDS} histories, ${total.taken} of ${total.sent} batches ` +
    `taken, ${total.records} records compared, ${total.deleted} deleted ` +
    `by a newer delta, ${total.hot} hot, ${total.upgraded} ` +
    `upgraded, ${total.odds} vectors at odds with the server's own restart, ` +
    `${total.dead} that their server cannot read: ${total.bad} failed`);
// a run in which the servers refuse most of what they get proves nothing
const idle = total.taken * 2 < total.sent || total.records === 0;
if (idle)
	console.log("most batches were refused, or nothing was compared");
if (total.bad === 0 && total.dead === 0)
	fs.rmSync(WORK, { recursive: true, force: true });
process.exit(total.bad !== 0 || idle ? 1 : 0);
