// manifests.mjs MODULES FILE...: judges manifests for manifests.sh, by their
// schema and by what they must say of exit statuses.  It runs nothing.
// SPDX-License-Identifier: ISC
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { basename } from "node:path";

const [modules, ...files] = process.argv.slice(2);
const load = createRequire(`${modules}/package.json`);
const YAML = load("yaml");
const asl = load("asl-validator");
const numbers = (s) => (s ?? "").split(/\s+/).filter(Boolean).map(Number);
const permanent = numbers(process.env.PERMANENT);
const passing = numbers(process.env.PASSING);
let bad = 0;

function ok(good, what, why = "") {
	console.log(`${good ? "ok" : "not ok"} - ${what}`);
	if (good)
		return;
	bad++;
	for (const line of String(why).split("\n"))
		console.log(`# ${line}`);
}
const same = (a, b) => JSON.stringify([...a].sort()) ===
    JSON.stringify([...b].sort());

// v, and what notes of each key below it whether anybody read it
function watched(v, path, unread) {
	if (v === null || typeof v !== "object")
		return v;
	const inner = Array.isArray(v) ? [] : {};
	for (const k of Object.keys(v)) {
		inner[k] = watched(v[k], `${path}/${k}`, unread);
		unread.add(`${path}/${k}`);
	}
	return new Proxy(inner, { get(o, k) {
		unread.delete(`${path}/${String(k)}`);
		return o[k];
	} });
}
// A document of Kubernetes, against the schema of its kind.  The validator
// lets keys pass that it does not know: those that it never reads.
function kubernetes(doc, what) {
	const unread = new Set();
	try {
		const Model = load(`kubernetes-models/${doc.apiVersion}`)[doc.kind];
		const m = new Model({ apiVersion: doc.apiVersion, kind: doc.kind });
		for (const k of Object.keys(doc))
			m[k] = watched(doc[k], k, unread);
		m.validate();
		ok(unread.size === 0,
		    `${what}: the schema of ${doc.apiVersion} ${doc.kind}`,
		    `unknown: ${[...unread].join(" ")}`);
	} catch (e) {
		ok(false, `${what}: the schema of ${doc.kind}`, e.message);
	}
	if (doc.kind !== "Job")
		return;
	const spec = doc.spec, pod = spec.template.spec;
	const rules = spec.podFailurePolicy?.rules ?? [];
	const codes = rules.find((r) => r.onExitCodes);
	const names = pod.containers.map((c) => c.name);
	ok(pod.restartPolicy === "Never",
	    `${what}: a failure policy wants restartPolicy Never`);
	ok(same(codes?.onExitCodes.values ?? [], permanent) &&
	    codes.onExitCodes.operator === "In" &&
	    names.includes(codes.onExitCodes.containerName) &&
	    codes.action ===
	    (spec.completionMode === "Indexed" ? "FailIndex" : "FailJob"),
	    `${what}: what is permanent fails at once, and nothing else does`,
	    JSON.stringify(codes));
	ok(spec.completionMode === "Indexed" ? spec.backoffLimitPerIndex > 0 &&
	    spec.completions > 0 : spec.backoffLimit > 0,
	    `${what}: the rest is tried again, so often`);
	const volumes = pod.volumes.map((v) => v.name);
	ok(pod.containers.every((c) =>
	    c.volumeMounts.every((m) => volumes.includes(m.name)) &&
	    c.env.some((e) => e.name === "TMPDIR")),
	    `${what}: what is mounted is there; staging has its place`);
}

// Argo has no schema among the packages: every key of a template is one
// that is known here, and what refers to something finds it.
const KEYS = { dag: 1, container: 1, name: 1, inputs: 1, outputs: 1,
	retryStrategy: 1 };
function argo(doc, what) {
	const t = new Map(doc.spec.templates.map((x) => [x.name, x]));
	const unknown = doc.spec.templates.flatMap((x) =>
	    Object.keys(x).filter((k) => !KEYS[k]));
	ok(doc.kind === "Workflow" && t.has(doc.spec.entrypoint) &&
	    unknown.length === 0, `${what}: entry point and templates`, unknown);
	const tasks = t.get(doc.spec.entrypoint).dag.tasks;
	const names = tasks.map((x) => x.name);
	ok(tasks.every((x) => t.has(x.template) && (x.depends ?? "")
	    .split(/[\s|&()!]+/).filter(Boolean)
	    .every((d) => names.includes(d.split(".")[0]) &&
	    /^(Succeeded|Failed|Errored|Skipped|Omitted)$/.test(d.split(".")[1]))),
	    `${what}: each task's template and what it depends on are there`);
	// what is written {{so}} is a parameter that somebody gives
	const refs = [...JSON.stringify(doc).matchAll(/\{\{([^}]*)\}\}/g)]
	    .map((m) => m[1].split("."));
	const given = (list, n) => (list?.parameters ?? [])
	    .some((p) => p.name === n);
	ok(refs.length > 0 && refs.every(([a, b, c, d, e]) => a === "item" ||
	    a === "workflow" && b === "parameters" &&
	    given(doc.spec.arguments, c) ||
	    a === "inputs" && given(t.get("chunk").inputs, c) ||
	    a === "tasks" && c === "outputs" && given(t.get(b)?.outputs, e)),
	    `${what}: every {{reference}} has its parameter`);
	const runs = doc.spec.templates.filter((x) => x.container);
	const volumes = doc.spec.volumes.map((v) => v.name);
	ok(runs.every((x) => x.container.volumeMounts
	    .every((m) => volumes.includes(m.name)) &&
	    x.container.env.some((e) => e.name === "TMPDIR")),
	    `${what}: what is mounted is there; staging has its place`);
	const codes = (x) => numbers(x.retryStrategy?.expression
	    .match(/ in \[([-0-9, ]*)\]/)?.[1].replaceAll(",", " "));
	ok(runs.every((x) => x.retryStrategy?.retryPolicy === "Always" &&
	    passing.every((n) => codes(x).includes(n)) &&
	    !permanent.some((n) => codes(x).includes(n))),
	    `${what}: what may pass is tried again, what is permanent is not`);
}

function tasks(states) {
	return Object.values(states).flatMap((s) => s.Type === "Task" ? [s] :
	    s.ItemProcessor ? tasks(s.ItemProcessor.States) : []);
}
function stepfunctions(doc, what) {
	const r = asl(doc);
	ok(r.isValid, `${what}: Amazon States Language`,
	    r.errorsText?.("\n") ?? JSON.stringify(r.errors));
	const all = tasks(doc.States ?? {});
	ok(all.length > 0 && all.every((s) => {
		const e = s.Parameters.RetryStrategy.EvaluateOnExit;
		return e.length <= 5 &&
		    same(e.filter((x) => x.OnExitCode &&
		    x.Action === "RETRY").map((x) => Number(x.OnExitCode)),
		    passing) && e.at(-1).OnReason === "*" &&
		    e.at(-1).Action === "EXIT";
	}), `${what}: what may pass is tried again, the rest ends the job`);
}

// What would be started, a line of JSON for each container or job.
function shown(doc, file) {
	const jobs = doc.States ? tasks(doc.States).map((s) => {
		const o = s.Parameters.ContainerOverrides;
		return [s.Parameters.JobName.replace("intact-", ""),
		    o.Command, o.Environment];
	}) : (doc.spec.templates ?? [doc.spec.template?.spec])
	    .flatMap((t) => t?.containers ?? (t?.container ?
	    [{ name: t.name, ...t.container }] : []))
	    .map((c) => [c.name, [...c.command, ...c.args ?? []], c.env]);
	for (const [name, words, env] of jobs)
		console.log(JSON.stringify({ file, name, words,
		    env: env.map((e) => e.name ?? e.Name) }));
}

for (const file of files) {
	const text = readFileSync(file, "utf8"), name = basename(file);
	try {
		for (const d of YAML.parseAllDocuments(text)) {
			if (d.errors.length > 0)
				throw d.errors[0];
			const doc = file.endsWith(".json") ?
			    JSON.parse(text) : d.toJS();
			if (process.env.SHOW)
				shown(doc, name);
			else if (doc.States)
				stepfunctions(doc, name);
			else if (doc.apiVersion.startsWith("argoproj.io/"))
				argo(doc, name);
			else
				kubernetes(doc, name);
		}
	} catch (e) {
		ok(false, `${name}: is read`, e.message);
	}
}
process.exit(bad > 0 ? 1 : 0);
