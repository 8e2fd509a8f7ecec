// model.mjs: what a collection holds after a batch, what filters must find
// in it and who is near whom: by definition, from the records, without an
// index.  Collections are as in Server.all, with their space.
// SPDX-License-Identifier: ISC
import { isString, text } from "./values.mjs";

// an integer that is none of 64 bits is a float to a server
function taken(v) {
	if (Array.isArray(v))
		return v.map(taken);
	return v[0] === "i" && BigInt.asIntN(64, number(v)) !== number(v) ?
	    "f:" + Number(v.slice(2)) : v;
}

// Put what a batch gives over what a record has: keys given replace, null
// removes, what is not given stays.
function overlay(r, meta, doc, uri) {
	const out = { ...r, meta: new Map(r.meta) };
	if (meta instanceof Map)
		for (const [k, v] of meta) {
			if (v === "null")
				out.meta.delete(k);
			else
				out.meta.set(k, taken(v));
		}
	if (isString(doc))
		out.document = text(doc);
	if (isString(uri))
		out.meta.set("chroma:uri", uri);
	return out;
}

// A batch that the server took: kind is the last word of its path, body
// its JSON, parsed.
export function apply(coll, kind, body) {
	const at = coll.records;
	if (kind === "delete" && !body.has("ids")) {
		const [[key, cond]] = body.get("where");
		const [[op, v]] = cond;
		for (const [id, r] of at)
			if (holds(r.meta, key, op, v))
				at.delete(id);
		return;
	}
	body.get("ids").forEach((t, i) => {
		const id = text(t), old = at.get(id);
		const column = (name) => body.get(name)?.[i] ?? "null";
		if (kind === "delete") {
			at.delete(id);
			return;
		}
		if (kind === "add" ? old !== undefined :
		    kind === "update" && old === undefined)
			return;
		const r = overlay(old ?? { document: null, meta: new Map() },
		    column("metadatas"), column("documents"), column("uris"));
		const v = column("embeddings");
		if (v !== "null")
			r.vector = Float32Array.from(v,
			    (x) => Number(x.slice(2)));
		at.set(id, r);
	});
}

export const clone = (all) => new Map([...all].map(([name, c]) =>
    [name, { ...c, records: new Map(c.records) }]));

// -- filters ---

const type = (v) => Array.isArray(v) ? "a" : /^[tf](rue|alse)$/.test(v) ?
    "b" : v[0];
const number = (v) => v[0] === "i" ? BigInt(v.slice(2)) : Number(v.slice(2));
const isNumber = (v) => type(v) === "i" || type(v) === "f";

const MAX = 2n ** 63n - 1n;
const clamp = (n) => n > MAX ? MAX : n < -MAX - 1n ? -MAX - 1n : n;

// One typed value against that of a filter.  Numbers meet as they do in
// ChromaDB's own SQL: an integer meets the filter's number as the nearest
// of 64 bits without what is behind its point, a float meets it as a float.
function order(a, b) {
	if (a === undefined || Array.isArray(a))
		return null;
	if (!isNumber(a) || !isNumber(b))
		return a === b ? 0 : null;
	const x = number(a), y = number(b);
	const at = type(a) === "f" ? Number(y) : typeof y === "bigint" ? y :
	    clamp(BigInt(Math.trunc(y)));
	return x < at ? -1 : x > at ? 1 : 0;
}

export function holds(meta, key, op, v) {
	const have = meta.get(key);
	const among = (list) => list.some((x) => order(have, x) === 0);
	switch (op) {
	case "$eq": return among([v]);
	case "$ne": return !among([v]);
	case "$in": return among(v);
	case "$nin": return !among(v);
	case "$contains":
		return Array.isArray(have) &&
		    have.some((x) => type(x) === type(v) &&
		    order(x, v) === 0);
	case "$not_contains":
		return !holds(meta, key, "$contains", v);
	}
	const o = order(have, v);
	return o !== null && (op === "$gt" ? o > 0 : op === "$gte" ? o >= 0 :
	    op === "$lt" ? o < 0 : o <= 0);
}

// a typed value as JSON
function literal(v) {
	if (Array.isArray(v))
		return `[${v.map(literal)}]`;
	switch (type(v)) {
	case "s": return JSON.stringify(v.slice(2));
	case "i": return v.slice(2);
	case "b": return v;
	}
	const x = Number(v.slice(2)), s = Object.is(x, -0) ? "-0" : String(x);
	return /[.e]/.test(s) ? s : s + ".0";
}

// One random filter on what the records have: { where, test }.  Servers
// read a float in a filter less exactly than one in a record, so that
// those are only compared, with something well between two of them.
function leaf(c, records, arrays) {
	const withMeta = records.filter((r) => r.meta.size > 0);
	if (withMeta.length === 0)
		return null;
	const [key, v] = c.pick([...c.pick(withMeta).meta]);
	if (key.startsWith("chroma:"))
		return null;
	const others = records.map((r) => r.meta.get(key)).filter((x) =>
	    x !== undefined && type(x) === type(v));
	let op, arg = v;
	switch (type(v)) {
	case "a":
		if (!arrays)
			return null;
		arg = c.pick(v);
		if (type(arg) === "f")
			return null;
		op = c.pick(["$contains", "$contains", "$not_contains"]);
		break;
	case "f": {
		const x = Number((Math.abs(number(v)) *
		    c.pick([0.99, 1.01])).toPrecision(6));
		if (!Number.isFinite(x) || x === 0)
			return null;
		arg = "f:" + (number(v) < 0 ? -x : x);
		op = c.pick(["$gt", "$lt", "$gte", "$lte"]);
		break;
	}
	case "i":
		op = c.pick(["$eq", "$ne", "$gt", "$lt", "$gte", "$lte",
		    "$in", "$nin"]);
		break;
	case "b":
		op = c.pick(["$eq", "$ne"]);
		break;
	default:
		op = c.pick(["$eq", "$ne", "$in", "$nin"]);
	}
	if (op === "$in" || op === "$nin")
		arg = [v, c.pick(others)];
	return { where: `{${JSON.stringify(key)}:{"${op}":${literal(arg)}}}`,
	    test: (r) => holds(r.meta, key, op, arg) };
}

export function filter(c, records, arrays) {
	const a = leaf(c, records, arrays), b = leaf(c, records, arrays);
	if (a === null || b === null || c.maybe(0.6))
		return a ?? b;
	const and = c.maybe(0.5);
	return { where: `{"${and ? "$and" : "$or"}":[${a.where},${b.where}]}`,
	    test: (r) => and ? a.test(r) && b.test(r) :
		a.test(r) || b.test(r) };
}

const escaped = (s) => s.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// One random filter on documents.
export function documentFilter(c, records) {
	const some = records.filter((r) => r.document !== null &&
	    [...r.document].length >= 3);
	if (some.length === 0)
		return null;
	const chars = [...c.pick(some).document];
	const from = c.below(chars.length - 2);
	const s = chars.slice(from, from + c.from(3, 12)).join("");
	// what LIKE and a trigram index make of these is another matter
	if (/[\u0000-\u001f%_\u007f\ufeff\u2028]/.test(s))
		return null;
	// SQLite's LIKE ends at a NUL
	if (records.some((r) => r.document?.includes("\0") &&
	    r.document.includes([...s].slice(0, 3).join(""))))
		return null;
	const op = c.pick(["$contains", "$contains", "$not_contains",
	    "$regex", "$not_regex"]);
	const arg = /regex/.test(op) ?
	    escaped([...s].slice(0, 3).join("")) + ".?" : s;
	const re = new RegExp(/regex/.test(op) ? arg : "", "su");
	const has = (r) => r.document !== null && (/regex/.test(op) ?
	    re.test(r.document) : r.document.includes(s));
	return { where: `{"${op}":${JSON.stringify(arg)}}`,
	    test: op.startsWith("$not") ? (r) => !has(r) : has };
}

// -- neighbours ---

function dot(a, b) {
	let s = 0;
	for (let i = 0; i < a.length; i++)
		s += a[i] * b[i];
	return s;
}

// of so short a vector float32 may leave no direction
export const faint = (space, v) => space === "cosine" &&
    v.some((x) => x !== 0) && Math.hypot(...v) < 1e-15;

export function distance(space, a, b) {
	if (space === "ip")
		return 1 - dot(a, b);
	if (space === "cosine") {
		const x = Math.sqrt(dot(a, a)), y = Math.sqrt(dot(b, b));
		return x * y === 0 ? 1 : 1 - dot(a, b) / x / y;
	}
	let s = 0;
	for (let i = 0; i < a.length; i++)
		s += (a[i] - b[i]) ** 2;
	return s;
}

// how far float32 arithmetic may be off
export function blur(space, a, b) {
	if (space === "cosine")
		return 2e-5;
	const n = Math.sqrt(dot(a, a)) + Math.sqrt(dot(b, b));
	return 1e-5 * (n * n + 1e-30) + (space === "ip" ? 1e-6 : 0);
}

// the k least distances from q, and the ids in that order
export function nearest(space, records, q, k) {
	return [...records].map(([id, r]) => ({ id,
	    d: distance(space, q, r.vector) }))
	    .sort((x, y) => x.d - y.d).slice(0, k);
}
