// chroma-write.mjs BUILD WHAT SEED ROUNDS JOBS VERSION...: what `dmerge -F
// chroma` writes, before real ChromaDB servers (chroma-write.sh brings
// them).  A server must open it and answer everything as it was given,
// write to it without loss, and what it then leaves must go back in as a
// delta.  WHAT is a list of: samples, histories, big.
// SPDX-License-Identifier: ISC
import fs from "node:fs";
import path from "node:path";
import { answers, killedMidway, mustRead, restarted, wanted, withoutArrays }
    from "./lib/judge.mjs";
import { apply, clone } from "./lib/model.mjs";
import { Chance, Server, WORK, Writer, begin, copy, deletions, manifest,
    pipeline, remake, run, sql, stages } from "./lib/server.mjs";
import { compare, overlaid, parse, text } from "./lib/values.mjs";

const [build, whatArg, seedArg, roundsArg, jobsArg, ...versions] =
    process.argv.slice(2);
const FIRST = Number(seedArg), ROUNDS = Number(roundsArg);
const SAMPLES = path.resolve(import.meta.dirname ??
    path.dirname(new URL(import.meta.url).pathname), "../data/samples");
begin(build, "chroma-write");
const total = { bad: 0, records: 0, filters: 0, asked: 0, found: 0,
    opened: 0, taken: 0, sent: 0, ruled: 0, hot: 0, dead: 0, generations: 0,
    tombstones: 0 };
const by = new Map(versions.map((v) => [v, 0]));	// opened

// -- which server opens what ---

// A server opens what has its own level of tables or an older one, and
// those since 1.1 take a newer one for granted; those before it refuse to
// start on one (sysdb 10: a schema; metadb 6: metadata that is an array).
async function level(dir) {
	const out = {};
	const r = await run("sqlite3", [path.join(dir, "chroma.sqlite3"),
	    "SELECT dir, max(version) FROM migrations GROUP BY dir"]);
	if (r.status !== 0)
		throw new Error(`${dir}: ${r.err}`);
	for (const s of r.out.split("\n"))
		out[s.split("|")[0]] = Number(s.split("|")[1]);
	return out;
}

const opens = (version, { sysdb, metadb }) => !/^1\.0\./.test(version) ||
    sysdb <= 9 && metadb <= 5;
const hasArrays = (all) => [...all.values()].some((c) =>
    [...c.records.values()].some((r) => [...r.meta.values()]
	.some(Array.isArray)));
const showsArrays = (version) => /^1\.([3-9]|\d\d)\./.test(version);

// -- a server goes on with it ---

// random batches for collections that are there, often for ids that are
class User extends Writer {
	constructor(chance, version, model) {
		super(chance, version);
		this.model = model;
		this.all = this.kinds;
		this.span = 60;
	}
	async find(server) {
		for (const c of await server.ask("GET",
		    "/collections?limit=1000")) {
			const name = text(c.get("name"));
			const coll = this.model.get(name);
			if (coll === undefined)
				continue;
			const [first] = coll.records.values();
			this.colls.push({ id: text(c.get("id")), name,
			    dim: first?.vector.length ??
			    (Number(c.get("dimension")?.slice(2)) || 3) });
		}
	}
	id() {
		const ids = this.at === undefined ? [] : this.at;
		return ids.length > 0 && this.c.maybe(0.6) ?
		    this.c.pick(ids) : super.id();
	}
	// A batch, and what must come of it.  No server since 1.0 writes down
	// the new vector of an index's only element: that one stays as it is.
	async use(server) {
		const coll = this.c.pick(this.colls);
		const held = this.model.get(coll.name);
		this.kinds = held.records.size < 2 ? ["add"] : this.all;
		this.at = [...held.records.keys()];
		const all = this.colls;
		this.colls = [coll];
		const b = this.batch(false);
		this.colls = all;
		const was = this.taken;
		await this.send(server, b);
		if (this.taken > was)
			apply(held, b[1].split("/").pop(), parse(b[2]));
	}
}

const OURS = ["manifest.json", "ledger.sqlite3"];

// our directory is a plain ChromaDB directory now
function disown(dir) {
	for (const f of OURS)
		fs.rmSync(path.join(dir, f), { force: true });
}

const judged = async (h, what, server, want, options) => {
	const bad = await answers(h, server, want, options);
	h.bad.push(...bad.map((s) => `${what}: ${s}`));
	return bad.length === 0;
};

// A server opens a copy of made, which must hold want; goes on writing to
// it; is killed and started again.  Then the directory goes back in, over
// inputs, which made was merged from.
async function openedBy(h, version, made, want, inputs, large) {
	const c = h.chance, strict = !large;
	by.set(version, (by.get(version) ?? 0) + 1);
	const name = `${path.basename(made)}-${version}-${h.opened++}`;
	const dir = copy(made, path.join(h.work, name));
	const arrays = showsArrays(version);
	const shown = arrays ? want : withoutArrays(want);
	let server = await Server.start(version, dir);
	const model = clone(shown);
	const writer = new User(c, version, model);
	try {
		if (!await judged(h, `${version} opens`, server, shown,
		    { strict, arrays }))
			return null;
		await writer.find(server);
		if (writer.colls.length === 0)
			return null;
		for (let i = c.from(3, 14); i > 0; i--)
			await writer.use(server);
		await judged(h, `${version} writes`, server, model,
		    { slack: 4, arrays });
		await server.kill();
		server = await Server.start(version, dir);
		if (!await judged(h, `${version} again`, server, model,
		    { slack: 4, arrays }))
			return null;
		let final = await server.all();
		await server.kill();
		// arrays that this server does not show are there all the same
		if (!arrays && hasArrays(want))
			final = await restarted({ version: versions.at(-1) },
			    dir);
		await givenBack(h, version, dir, want, final, inputs);
		return { dir, final };
	} finally {
		await server.kill();
		h.sent += writer.sent;
		h.taken += writer.taken;
	}
}

// What a server made of a directory of ours is no longer what its manifest
// says; without it, it is a delta like any other.
async function givenBack(h, version, dir, want, final, inputs) {
	if (fs.existsSync(path.join(dir, "manifest.json"))) {
		const r = await pipeline(h.work, [[dir, 9]], "--allow-empty");
		if (r.status === 0 || !/: manifest: .*mend: /.test(r.err) ||
		    !r.err.includes("ledger.sqlite3"))
			h.bad.push(`${version} changed it, and its manifest ` +
			    `is there: want it refused, and what to remove, ` +
			    `got ${r.status}: ${r.err.trim()}`);
	}
	disown(dir);
	await mustRead(h, `${version}, as a delta`, [[dir, 9]], final);
	if (inputs === undefined)
		return;
	// over what it came from: what its queue still deletes is deleted
	const gone = await deletions(dir);
	for (const [name, ids] of gone)
		for (const id of ids)
			h.tombstones +=
			    want.get(name)?.records.has(id) ? 1 : 0;
	const union = overlaid(want, final, gone);
	const all = [...inputs, [dir, 1000]];
	await mustBoth(h, `${version}, over its inputs`, all, union);
}

// the same inputs in both formats: one content
async function mustBoth(h, what, inputs, union, merge) {
	const a = await pipeline(h.work, inputs, "--allow-empty");
	const b = await pipeline(h.work, inputs, "--allow-empty",
	    `-F chroma ${merge ?? ""}`);
	if (a.status !== 0 || b.status !== 0) {
		h.bad.push(`${what}: -F sqlite: ${a.status} ${a.err.trim()}; ` +
		    `-F chroma: ${b.status} ${b.err.trim()}`);
		return null;
	}
	const want = await wanted(a.store);
	if (union !== undefined)
		h.bad.push(...compare(union, new Map([...want].map(([n, x]) =>
		    [n, x.records]))).bad.map((s) => `${what}: ${s}`));
	const x = manifest(a.out), y = manifest(b.out);
	for (const k of ["content_digest", "records", "tombstones"])
		if (x[k] !== y[k])
			h.bad.push(`${what}: ${k}: -F sqlite ${x[k]}, ` +
			    `-F chroma ${y[k]}`);
	return { want, made: b.out };
}

// -- samples ---

const json = (name) => parse(fs.readFileSync(path.join(SAMPLES, name,
    "expected.json"), "utf8"));

// expected.json was written by a client that does not tell 1 from 1.0
const loose = (v) => Array.isArray(v) ? v.map(loose) :
    /^[if]:/.test(v) ? "n:" + Number(v.slice(2)) : v;
const looseAll = (all) => new Map([...all].map(([name, c]) =>
    [name, { ...c, records: new Map([...c.records].map(([id, r]) =>
	[id, { ...r, meta: new Map([...r.meta].filter(([k]) =>
	    k !== "chroma:uri").map(([k, v]) => [k, loose(v)])) }])) }]));

// expected.json in the shape of Server.all
function expected(name, spaces) {
	const out = new Map();
	for (const c of json(name).get("collections")) {
		const at = new Map(), n = text(c.get("name"));
		for (const r of c.get("records"))
			at.set(text(r.get("id")), {
				vector: Float32Array.from(r.get("vector"),
				    (x) => Number(x.slice(2))),
				document: text(r.get("document") ?? "null"),
				meta: r.get("metadata") instanceof Map ?
				    r.get("metadata") : new Map() });
		out.set(n, { close: spaces.get(n)?.close, records: at });
	}
	return out;
}

const valid = () => fs.readdirSync(SAMPLES).filter((s) =>
    !s.startsWith("bad_") &&
    fs.existsSync(path.join(SAMPLES, s, "expected.json"))).sort();
const checkOf = (names) => "--allow-empty" +
    (names.some((s) => /^killed_hot/.test(s)) ? " --recover-hot" : "");

// one sample, or several together, in both formats
async function mergeSamples(h, names, inputs) {
	const check = checkOf(names);
	const a = await pipeline(h.work, inputs, check);
	const b = await pipeline(h.work, inputs, check, "-F chroma");
	if (a.status !== 0 && a.status === b.status)
		return null;		// they do not agree
	if (a.status !== 0 || b.status !== 0) {
		h.bad.push(`-F sqlite: ${a.status} ${a.err.trim()}; ` +
		    `-F chroma: ${b.status} ${b.err.trim()}`);
		return null;
	}
	for (const k of ["content_digest", "records", "tombstones"])
		if (manifest(a.out)[k] !== manifest(b.out)[k])
			h.bad.push(`${k}: -F sqlite ${manifest(a.out)[k]}, ` +
			    `-F chroma ${manifest(b.out)[k]}`);
	const want = await wanted(a.store);
	if (names.length === 1)
		h.bad.push(...compare(looseAll(expected(names[0], want)),
		    new Map([...looseAll(want)].map(([n, x]) =>
			[n, x.records]))).bad
		    .map((s) => `expected.json: ${s}`));
	return { want, made: b.out };
}

async function sample(h, names) {
	const c = h.chance;
	const inputs = names.map((s, i) => [path.join(SAMPLES, s, "db"),
	    i + 1]);
	const m = await mergeSamples(h, names, inputs);
	if (m === null) {
		if (names.length === 1 && h.bad.length === 0)
			h.bad.push("not merged, in either format");
		return;
	}
	const at = await level(m.made);
	// no more than the inputs need
	const need = { sysdb: 0, metadb: 0 };
	for (const [dir] of inputs) {
		// a hot one is rolled back when it is opened
		const x = await level(copy(dir, fs.mkdtempSync(
		    path.join(h.work, "level."))));
		need.sysdb = Math.max(need.sysdb, x.sysdb);
		need.metadb = Math.max(need.metadb, x.metadb);
	}
	if (at.sysdb > Math.max(need.sysdb, 9) ||
	    at.metadb > Math.max(need.metadb, 5))
		h.bad.push(`level: inputs have sysdb ${need.sysdb}, metadb ` +
		    `${need.metadb}, the directory has ${at.sysdb}, ` +
		    at.metadb);
	for (const v of h.versions) {
		if (!opens(v, at)) {
			total.ruled++;
			continue;
		}
		await openedBy(h, v, m.made, m.want,
		    names.some((s) => /^killed_hot/.test(s)) ? undefined :
		    inputs);
	}
	if (names.length === 1)
		await sameCollections(h, inputs[0][0], m.made);
}

// What a server says of the collections themselves is what it says of
// those that were merged.
async function sameCollections(h, dir, made) {
	const shown = [];
	for (const d of [dir, made]) {
		const at = copy(d, fs.mkdtempSync(path.join(h.work, "list.")));
		const server = await Server.start(h.versions.at(-1), at);
		try {
			shown.push(await server.ask("GET",
			    "/collections?limit=1000"));
		} finally {
			await server.kill();
		}
	}
	// servers say l2 of what Python wrote, whatever they reckon with
	const wrong = /legacy/.test(dir);
	const said = (c, k) => canon(c.get(k)).replace(wrong ?
	    /space:s:\w+/ : /^$/, "");
	for (const c of shown[0]) {
		const name = text(c.get("name"));
		const x = shown[1].find((y) => text(y.get("name")) === name);
		for (const k of ["id", "metadata", "dimension",
		    "configuration_json"])
			if (x === undefined || said(c, k) !== said(x, k))
				h.bad.push(`collection ${name}: ${k}: want ` +
				    `${said(c, k)}, got ` +
				    (x && said(x, k)));
	}
}

const canon = (v) => v instanceof Map ? "{" + [...v].map(([k, x]) =>
    `${k}:${canon(x)}`).sort() + "}" : Array.isArray(v) ?
    `[${v.map(canon)}]` : String(v);

// Groups of samples whose collections have one shape: all of a group, and
// random pairs and triples of it.
async function groups(c) {
	const by = new Map();
	for (const s of valid()) {
		if (/^killed_hot|^no_coll|^empty/.test(s))
			continue;
		const r = await pipeline(WORK, [[path.join(SAMPLES, s, "db"),
		    1]], checkOf([s]));
		if (r.status !== 0)
			continue;
		for (const [shape] of await sql(r.store, "SELECT " +
		    "group_concat(x, ' ') FROM (SELECT name || dimension || " +
		    "coalesce(space, '') || coalesce(model, '') AS x " +
		    "FROM collection ORDER BY 1)"))
			by.set(shape, [...by.get(shape) ?? [], s]);
	}
	const out = [];
	for (const g of by.values()) {
		if (g.length < 2)
			continue;
		out.push(g, [...g].reverse());
		if (g.length > 2)
			out.push([c.pick(g.slice(0, -1)), g.at(-1)]);
	}
	out.push(["empty_collection", "metadata_types"],
	    ["no_collection", "two_collections"]);
	return out;
}

// -- histories ---

// Some deltas, written by real servers: histories of one or more
// collections that agree with each other.
async function deltas(h) {
	const c = h.chance, out = [];
	let colls;
	const n = c.from(2, 5);
	for (let i = 0; i < n; i++) {
		const dir = path.join(h.work, `delta-${i}`);
		const writer = new Writer(c, h.version);
		if (c.maybe(0.7))
			writer.thresholds = [5, 100, 1000, 1000];
		writer.span = c.pick([9, 30, 120]);
		if (i === 0 && c.maybe(0.4))
			writer.long = 1500;	// an id longer than a page
		const grown = i > 0 && c.maybe(0.3);
		if (grown)
			copy(out[i - 1], dir);
		else
			fs.mkdirSync(dir);
		const server = await Server.start(h.version, dir);
		try {
			if (i === 0) {
				await writer.history(server);
				// a collection without records
				if (c.maybe(0.5))
					await writer.create(server);
			} else {
				writer.colls = colls;
				if (!grown)
					await remake(server, out[0], writer);
				await writer.batches(server, c.from(2, 14));
			}
		} finally {
			await server.kill();
		}
		colls = writer.colls.map((x) => ({ ...x }));
		h.sent += writer.sent;
		h.taken += writer.taken;
		out.push(dir);
	}
	return out;
}

const current = (target) => path.join(target, "timestamped",
    fs.readFileSync(path.join(target, "latest-pointer.txt"), "utf8").trim());

async function publish(h, target, inputs, merge) {
	const r = await stages(h.work, inputs, "exec drun '" +
	    'dfetch -B "$TARGET" -f "$PLAN" | ' +
	    "dcheck --no-cache --allow-empty | " +
	    'dmerge $MERGE | dpublish --allow-empty "$TARGET"' + "'",
	    { TARGET: target, MERGE: merge });
	if (r.status !== 0)
		h.bad.push(`publish ${merge}: status ${r.status}: ` +
		    r.err.trim());
	return r.status === 0;
}

// Inputs published in random groups, some of them merged beforehand, onto
// ChromaDB bases: after each generation it is what -F sqlite makes of all
// inputs so far.
async function generations(h, inputs) {
	const c = h.chance, target = path.join(h.work, "target");
	const left = [...inputs], done = [];
	let m = null;
	for (let g = 0; left.length > 0; g++) {
		const some = [];
		for (let i = c.from(1, 3); i > 0 && left.length > 0; i--)
			some.push(...left.splice(c.below(left.length), 1));
		// now and then one comes again
		if (done.length > 0 && c.maybe(0.2))
			some.push(c.pick(done));
		done.push(...some.filter((x) => !done.includes(x)));
		let given = some;
		if (c.maybe(0.4)) {
			const r = await pipeline(h.work, some,
			    "--allow-empty", c.pick(["-F sqlite",
			    "-F chroma", "-F chroma --threads 2"]));
			if (r.status !== 0) {
				h.bad.push(`intermediate: ${r.status}: ` +
				    r.err.trim());
				return null;
			}
			given = [[r.out]];
		}
		const merge = `-F chroma --threads ${c.from(1, 3)}` +
		    (c.maybe(0.25) ? " --rebuild" : "");
		if (!await publish(h, target, given, merge))
			return null;
		h.generations++;
		if (merge.includes("--rebuild"))
			await allLive(h, current(target));
		m = await mustBoth(h, `generation ${g}`, done);
		if (m === null)
			return null;
		const x = manifest(current(target)), y = manifest(m.made);
		for (const k of ["content_digest", "records", "tombstones"])
			if (x[k] !== y[k])
				h.bad.push(`generation ${g}: ${k}: ` +
				    `published ${x[k]}, at once ${y[k]}`);
		// the server of every generation, now and then
		if (left.length > 0 && c.maybe(0.3))
			await openedBy(h, h.version, current(target), m.want);
	}
	return { target, want: m.want };
}

// a rebuilt index has nothing in it that is dead
async function allLive(h, dir) {
	for (const [seg, n] of await sql(path.join(dir, "chroma.sqlite3"),
	    "SELECT v.id, (SELECT count(*) FROM segments m JOIN embeddings e " +
	    "ON e.segment_id = m.id WHERE m.scope = 'METADATA' AND " +
	    "m.collection = v.collection) FROM segments v " +
	    "WHERE v.scope = 'VECTOR'")) {
		const f = path.join(dir, seg, "header.bin");
		const has = fs.existsSync(f) ?
		    fs.readFileSync(f).readBigUInt64LE(20) : 0n;
		if (has !== BigInt(n))
			h.bad.push(`rebuilt: ${has} elements for ${n} records`);
	}
}

async function history(h) {
	const c = h.chance;
	const dirs = await deltas(h);
	const seqs = dirs.map((_, i) => i + 1);
	// not always the order in which they were written
	if (c.maybe(0.4))
		seqs.reverse();
	const inputs = dirs.map((d, i) => [d, seqs[i]]);
	const g = await generations(h, inputs);
	if (g === null || h.bad.length > 0)
		return;
	const made = current(g.target);
	const able = h.versions.filter((v) => v >= h.version);
	const version = opens(able.at(-1), await level(made)) ?
	    c.pick(able) : h.version;
	if (c.maybe(0.3)) {
		await killedOn(h, version, made, g.want);
		return;
	}
	const used = await openedBy(h, version, made, g.want, inputs);
	if (used === null)
		return;
	// and onto the base that it came from
	const late = [...inputs, [used.dir, 1000]];
	if (!await publish(h, g.target, [[used.dir, 1000]], "-F chroma"))
		return;
	const m = await mustBoth(h, "its own successor", late);
	if (m !== null && manifest(current(g.target)).content_digest !==
	    manifest(m.made).content_digest)
		h.bad.push("its own successor: published, it is another");
	if (m !== null)
		await openedBy(h, version, current(g.target), m.want);
}

// a server is killed while it writes to a directory of ours
async function killedOn(h, version, made, want) {
	const dir = copy(made, path.join(h.work, "killed"));
	disown(dir);
	h.version = version;
	const server = await Server.start(version, dir);
	const writer = new User(h.chance, version, clone(want));
	try {
		await writer.find(server);
		if (writer.colls.length > 0)
			await killedMidway(h, server, writer, dir);
	} finally {
		await server.kill();
		h.sent += writer.sent;
		h.taken += writer.taken;
	}
}

// -- one large one ---

async function big(h) {
	const dir = path.join(h.work, "big");
	const r = await run(path.join(process.env.GEN ??
	    path.join(build, "gen"), "gendelta"), ["--out", dir, "--records",
	    "100000", "--dim", "4", "--space", "cosine"]);
	if (r.status !== 0)
		throw new Error(`gendelta: ${r.err}`);
	const m = await mustBoth(h, "100,000", [[dir, 1]], undefined,
	    "--threads 2");
	if (m === null)
		return;
	const again = await pipeline(h.work, [[dir, 1]], "",
	    "-F chroma --threads 1");
	const r2 = await run("diff", ["-r", m.made, again.out]);
	if (again.status !== 0 || r2.status !== 0)
		h.bad.push(`one thread, two: ${again.err}${r2.out}`);
	await openedBy(h, h.versions.at(-1), m.made, m.want, undefined, true);
}

// -- all of it ---

const tasks = [];

function task(name, seed, f, only) {
	tasks.push(async () => {
		const h = { seed, chance: new Chance(Math.imul(seed,
		    2654435761)), versions: only ?? versions, bad: [],
		    notes: [], records: 0, filters: 0, asked: 0, found: 0,
		    opened: 0, sent: 0, taken: 0, deleted: 0, odds: 0,
		    generations: 0, tombstones: 0,
		    work: fs.mkdtempSync(path.join(WORK, "w.")) };
		try {
			await f(h);
		} catch (e) { h.bad.push(e.stack); }
		for (const k of ["records", "filters", "asked", "found",
		    "opened", "sent", "taken", "generations", "tombstones"])
			total[k] += h[k];
		total.hot += h.hot ? 1 : 0;
		total.dead += h.unreadable ? 1 : 0;
		for (const s of h.notes)
			console.log(`${name}: note: ${s}`);
		if (h.bad.length === 0) {
			fs.rmSync(h.work, { recursive: true, force: true });
			return;
		}
		total.bad++;
		for (const s of h.bad.slice(0, 8))
			console.log(`${name}: ${s.slice(0, 1200)}`);
		console.log(`${name}: ${h.bad.length} differences, left in ` +
		    h.work);
	});
}

const what = whatArg.split(",");
const pick = (process.env.SAMPLES ?? "").split(" ").filter((s) => s !== "");
if (what.includes("samples"))
	for (const s of pick.length > 0 ? pick : valid())
		task(`sample ${s}`, FIRST, (h) => sample(h, [s]));
if (what.includes("groups"))
	for (const g of await groups(new Chance(FIRST)))
		task(`samples ${g.join(" ")}`, FIRST, (h) => sample(h, g));
if (what.includes("histories"))
	for (let i = 0; i < ROUNDS; i++) {
		const seed = FIRST + i, v = versions[seed % versions.length];
		task(`seed ${seed} (${v})`, seed, async (h) => {
			h.version = v;
			await history(h);
		});
	}
if (what.includes("big"))
	task("big", FIRST, big);

let next = 0;
await Promise.all(Array.from({ length: Number(jobsArg) }, async () => {
	while (next < tasks.length)
		await tasks[next++]();
}));
console.log("directories opened: " + [...by].map(([v, n]) =>
    `${v}: ${n}`).join(", "));
console.log(`${tasks.length} tasks: ${total.records} records held against ` +
    `what was given, ${total.filters} filters, ` +
    `${total.found} of ${total.asked} ` +
    `neighbours, ${total.taken} of ${total.sent} batches taken, ` +
    `${total.generations} generations, ${total.tombstones} deletions given ` +
    `back, ${total.hot} hot, ${total.dead} that their server cannot read: ` +
    `${total.bad} failed`);
if (total.ruled > 0)
	console.log(`not tried, by rule: ${total.ruled} directories of sysdb ` +
	    "10 or metadb 6 on servers before 1.1, which start on none");
// of all samples, a server that opened nothing proves nothing
const idle = total.opened === 0 ||
    what.includes("samples") && pick.length === 0 &&
    [...by.values()].includes(0) || total.found < 0.95 * total.asked ||
    total.taken * 2 < total.sent;
if (idle)
	console.log("too few were opened, found or taken");
if (total.bad === 0)
	fs.rmSync(WORK, { recursive: true, force: true });
process.exit(total.bad !== 0 || idle ? 1 : 0);
