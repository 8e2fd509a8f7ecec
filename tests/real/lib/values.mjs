// values.mjs: JSON in which 1, 1.0, true and "1" differ, and what equal
// means of records that servers and stores hold.  It asks nobody.
// SPDX-License-Identifier: ISC

const TOLERANCE = 4e-7;		// cosine vectors come back scaled
const TINY = 1e-18;

// JSON text to text in which equal means equal, type for type; objects
// become Maps and arrays stay, so that the callers can look inside.
export function parse(s) {
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

export const isString = (v) => typeof v === "string" && v.startsWith("s:");
export const text = (v) => isString(v) ? v.slice(2) : null;

// are two parsed values equal?  slack: floats may be so many ulp off
export function same(a, b, slack) {
	if (Array.isArray(a))
		return Array.isArray(b) && a.length === b.length &&
		    a.every((x, i) => same(x, b[i], slack));
	if (a === b || !slack || !String(a).startsWith("f:") ||
	    !String(b).startsWith("f:"))
		return a === b;
	const x = Number(a.slice(2)), y = Number(b.slice(2));
	return Math.abs(x - y) <= Math.max(Math.abs(x) * 2.3e-16 * slack,
	    5e-324);
}

export function sameMeta(a, b, slack) {
	if (a.size !== b.size)
		return false;
	for (const [k, v] of a)
		if (!b.has(k) || !same(v, b.get(k), slack))
			return false;
	return true;
}

export const shown = (m) => JSON.stringify(m instanceof Map ? [...m] : m);

export function sameVector(want, got, close) {
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

// differences of want (Server.all) and got (view), in words
export function compare(want, got, slack) {
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

export const size = (all) =>
    [...all.values()].reduce((n, c) => n + c.records.size, 0);

// what an older and a newer delta make together
export function overlaid(oldAll, youngAll, gone) {
	const want = new Map();
	for (const [name, { close, records: r }] of oldAll)
		want.set(name, { close, records: new Map([...r].filter(
		    ([id]) => !gone.get(name)?.has(id))) });
	for (const [name, { close, records: r }] of youngAll)
		want.set(name, { close, records: new Map([
		    ...want.get(name)?.records ?? [], ...r]) });
	return want;
}
