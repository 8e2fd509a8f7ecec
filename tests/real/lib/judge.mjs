// judge.mjs: a directory that a real server wrote must merge to what that
// server shows.  h is one history: seed, version, chance, work (its
// directory), bad and notes (what is said of it), and counts.
// SPDX-License-Identifier: ISC
import fs from "node:fs";
import path from "node:path";
import { blur, distance, documentFilter, faint, filter, nearest }
    from "./model.mjs";
import { Server, copy, deletions, hex, manifest, pipeline, sleep, sql, view }
    from "./server.mjs";
import { compare, overlaid, shown, size, text } from "./values.mjs";

let copies = 0;

// what a server says of a directory when it has just been started on it
export async function restarted(h, dir) {
	const server = await Server.start(h.version,
	    copy(dir, `${dir}-restarted-${copies++}`));
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
export async function mustRead(h, what, inputs, want, options, again) {
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
	return manifest(r.out).content_digest;
}

// SIGKILL while batches are on their way
export async function killedMidway(h, server, writer, dir) {
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

// an older delta and a newer one, given in either order
export async function mustMerge(h, old, oldAll, young, youngAll) {
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

// -- a server that was given a directory ---

// what a merged store of ours in -F sqlite holds, in the shape of Server.all
export async function wanted(store) {
	const all = await view(store), out = new Map();
	for (const [c, space] of await sql(store, "SELECT hex(name), " +
	    "coalesce(space, 'l2') FROM collection")) {
		const name = hex(c).toString();
		out.set(name, { space, close: space === "cosine",
		    records: all.get(name) ?? new Map() });
	}
	return out;
}

// without what servers before arrays cannot show
export const withoutArrays = (all) => new Map([...all].map(([name, c]) =>
    [name, { ...c, records: new Map([...c.records].map(([id, r]) =>
	[id, { ...r, meta: new Map([...r.meta].filter(([, v]) =>
	    !Array.isArray(v))) }])) }]));

// Ask the server everything: list, counts, records, filters, neighbours.
// strict: no neighbour may be missed (of few records, an index of which
// all can be reached finds all).  Differences, in words; h counts.
export async function answers(h, server, want, { slack, strict, arrays }) {
	const c = h.chance, bad = [];
	const list = await server.ask("GET", "/collections?limit=1000");
	if (list === null)
		return [`list: ${server.why}`];
	const ids = new Map(list.map((x) => [text(x.get("name")), x]));
	const got = await server.all();
	bad.push(...compare(want, new Map([...got].map(([name, x]) =>
	    [name, x.records])), slack).bad);
	for (const [name, coll] of want) {
		const x = ids.get(name);
		if (x === undefined) {
			bad.push(`${name}: collection not there`);
			continue;
		}
		const at = `/collections/${text(x.get("id"))}`;
		const n = await server.ask("GET", `${at}/count`);
		if (n !== `i:${coll.records.size}`)
			bad.push(`${name}: count: want ` +
			    `${coll.records.size}, got ${n ?? server.why}`);
		h.records += coll.records.size;
		if (got.get(name)?.space !== coll.space)
			bad.push(`${name}: space: want ${coll.space}, got ` +
			    got.get(name)?.space);
		if (coll.records.size === 0)
			continue;
		bad.push(...await filters(h, server, name, at, coll, arrays));
		bad.push(...await neighbours(h, server, name, at, coll,
		    strict));
	}
	return bad;
}

async function filters(h, server, name, at, coll, arrays) {
	const c = h.chance, bad = [], records = [...coll.records.values()];
	for (let i = 0; i < 16; i++) {
		const meta = i < 8 ? filter(c, records, arrays) : null;
		const doc = i < 8 && c.maybe(0.8) ? null :
		    documentFilter(c, records);
		if (meta === null && doc === null)
			continue;
		const body = [];
		if (meta !== null)
			body.push(`"where":${meta.where}`);
		if (doc !== null)
			body.push(`"where_document":${doc.where}`);
		const got = await server.ask("POST", `${at}/get`,
		    `{${body},"include":[]}`);
		const want = [...coll.records].filter(([, r]) =>
		    (meta === null || meta.test(r)) &&
		    (doc === null || doc.test(r))).map(([id]) => id).sort();
		const have = got?.get("ids").map(text).sort();
		h.filters++;
		if (got === null || want.length !== have.length ||
		    want.some((id, j) => id !== have[j]))
			bad.push(`${name}: get ${body}: want ${want.length} ` +
			    `records, got ${have?.length ?? server.why}: ` +
			    shown(want.filter((id) => !have?.includes(id))
			    .slice(0, 3)) + " missing, " +
			    shown((have ?? []).filter((id) =>
			    !want.includes(id)).slice(0, 3)) + " too many");
	}
	return bad;
}

async function neighbours(h, server, name, at, coll, strict) {
	const c = h.chance, bad = [], ids = [...coll.records.keys()];
	if ([...coll.records.values()].some((r) =>
	    faint(coll.space, r.vector)))
		strict = false;
	const k = Math.min(10, ids.length);
	for (let i = 0; i < 6; i++) {
		const v = coll.records.get(c.pick(ids)).vector;
		const size = Math.hypot(...v) / Math.sqrt(v.length) || 1;
		const q = v.map((x) => Math.fround(x +
		    (c.real() - 0.5) * size * c.pick([0, 0.1, 3])));
		if (!(Math.hypot(...q) > 1e-9))
			continue;
		const got = await server.ask("POST", `${at}/query`,
		    `{"query_embeddings":[[${[...q]}]],"n_results":${k},` +
		    '"include":["distances"]}');
		if (got === null) {
			bad.push(`${name}: query: ${server.why}`);
			continue;
		}
		const found = got.get("ids")[0].map(text);
		const far = got.get("distances")[0]
		    .map((x) => Number(x.slice(2)));
		const best = nearest(coll.space, coll.records, q, k);
		if (found.length !== k && strict)
			bad.push(`${name}: query: want ${k} neighbours, got ` +
			    found.length);
		let last = -Infinity;
		found.forEach((id, j) => {
			const r = coll.records.get(id);
			if (r === undefined) {
				bad.push(`${name}: query: got ${shown(id)}, ` +
				    "which is not there");
				return;
			}
			const d = distance(coll.space, q, r.vector);
			const slack = blur(coll.space, q, r.vector);
			if (!(Math.abs(far[j] - d) <= slack) &&
			    !faint(coll.space, r.vector))
				bad.push(`${name}: ${shown(id)}: distance: ` +
				    `want ${d}, got ${far[j]}`);
			if (far[j] < last)
				bad.push(`${name}: query: out of order`);
			last = far[j];
			h.asked++;
			if (d <= best[j].d + 2 * slack)
				h.found++;
			else if (strict)
				bad.push(`${name}: query: neighbour ${j + 1} ` +
				    `of ${ids.length}: want ` +
				    `${shown(best[j].id)} at ${best[j].d}, ` +
				    `got ${shown(id)} at ${d}`);
		});
	}
	return bad;
}
