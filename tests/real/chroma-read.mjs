// chroma-read.mjs BUILD SEED ROUNDS JOBS VERSION...: random histories
// against real ChromaDB servers (chroma-read.sh brings them).  What the
// server says it holds must be what the pipeline reads from the directory
// that it left: bits of vectors, documents, types of metadata; no more, no
// less.  It takes part in the writing alone: reading is the programs' job.
// SPDX-License-Identifier: ISC
import fs from "node:fs";
import path from "node:path";
import { killedMidway, mustMerge, mustRead, restarted }
    from "./lib/judge.mjs";
import { Chance, Server, WORK, Writer, begin, copy, remake }
    from "./lib/server.mjs";

const [build, seedArg, roundsArg, jobsArg, ...versions] =
    process.argv.slice(2);
const FIRST = Number(seedArg), ROUNDS = Number(roundsArg);
const KINDS = ["clean", "idle", "live", "mid", "mid", "grown", "fresh"];
begin(build, "chroma-read");

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
