// judge.mjs: a directory that a real server wrote must merge to what that
// server shows.  h is one history: seed, version, chance, work (its
// directory), bad and notes (what is said of it), and counts.
// SPDX-License-Identifier: ISC
import fs from "node:fs";
import path from "node:path";
import { Server, copy, deletions, pipeline, sleep, view }
    from "./server.mjs";
import { compare, overlaid, size } from "./values.mjs";

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
	return /"content_digest":"([0-9a-f]*)"/.exec(r.out)?.[1];
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
