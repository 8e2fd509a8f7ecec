/*
 * target_odd: what happens to a publisher, a remover and a reader while
 * others are at work, or when a target holds what nobody of ours wrote; each
 * refusal with its class and its words, and what is left after it.
 * SPDX-License-Identifier: ISC
 */
#include "worlds.h"

#include <sys/wait.h>

#include <signal.h>

#include "tap.h"

#define HOUR	3600
#define FLOOD	1000000		/* names that are too many */

static struct err		err;
static struct target_upload	*up;
static struct target_commit	commit;

/* It failed with this class and these words. */
static void
refused(int rv, int code, const char *words, const char *what)
{
	if (!tap_ok(rv == -1 && err.code == code &&
	    strstr(err.text, words) != NULL, "%s: %d", what, code))
		printf("# returned %d, code %d: %s\n", rv, err.code,
		    err.text);
	memset(&err, 0, sizeof(err));
}

/* A claim of V3, uploaded, and the commit that would follow. */
static void
upload(int remote, const char *run)
{
	struct target_claim	c = { V3, 3, NULL, NULL };

	world(remote);
	memset(&err, 0, sizeof(err));
	up = target_begin(&target, NULL, run, &c, &err);
	if (up == NULL || target_put(up, storefd, &manifest, digest, 0,
	    &err) == -1)
		_exit(93);
	fill(&commit, 3, V3, run, "publish");
}

/* A claim of nothing, or of the right to commit V1 once more. */
static void
claim(int remote, const char *keeps)
{
	struct target_claim	c = { NULL, 0, NULL, keeps };

	world(remote);
	memset(&err, 0, sizeof(err));
	up = target_begin(&target, NULL, "mine", &c, &err);
	if (up == NULL)
		_exit(92);
	fill(&commit, 3, V1, "mine", "rollback");
}

static void
over(void)
{
	struct err	e = { 0, "" };

	fail_at = 0;
	(void)target_abandon(up, &e);
	target_upload_free(up);
	up = NULL;
	target_commit_clear(&commit);
}

static void
fail_with(const char *call, enum how h, unsigned long n)
{
	only = call;
	how = h;
	fail_at = n;
	calls = 0;
}

/* What others do meanwhile. */

static void
another_commits(void)
{
	(void)publish("another", next(), V4, NULL, &err);
}

static void
another_rolls_back(void)
{
	(void)publish("another", next(), NULL, V1, &err);
}

static void
another_removes(void)
{
	(void)under->remove(impl_under, TARGET_VERSIONS "/" V1, &err);
}

/* What others write. */
static void
lay(const char *key, const char *text)
{
	int	unsure = 0;

	(void)under->replace(impl_under, "", key, text, strlen(text),
	    &unsure, &err);
}

static void
another_writes(void)
{
	lay(TARGET_VERSIONS "/" V1 "/" MANIFEST_NAME, "{}");
}

static void
then(const char *call, void (*f)(void))
{
	before = call;
	meanwhile = f;
}

static void
a_signal(void)
{
	(void)raise(SIGTERM);
}

/* In a process of its own: 1 when it says 1. */
static int
in_child(int (*f)(void))
{
	pid_t	pid;
	int	st = 0;

	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(f() == 1 ? 42 : 1);
	(void)waitpid(pid, &st, 0);
	return WIFEXITED(st) && WEXITSTATUS(st) == 42;
}

/*
 * Publishers.
 */

static int
stopped_commit(void)
{
	int	r;

	upload(1, "mine");
	io_catch_signals();
	fail_with("create", DROPPED, 1);
	forever = 1;
	then("create", a_signal);
	r = target_commit(up, &commit, NULL, &err);
	fail_at = 0;
	return r == -1 && err.code == MSG_TEMPFAIL &&
	    strstr(err.text, "is not known; nothing was removed") != NULL &&
	    target_abandon(up, &err) == 0 && has(V3) &&
	    names(TARGET_STAGING) == 1;
}

static int
stopped_pointer(void)
{
	int	r;

	upload(1, "mine");
	io_catch_signals();
	if (target_commit(up, &commit, NULL, &err) != 0)
		return 0;
	fail_with("replace", OTHERS, 1);
	forever = 1;
	then("replace", a_signal);
	r = target_advance(up, &err);
	return r == -1 && err.code == MSG_TEMPFAIL &&
	    strstr(err.text, "others move it again and again") != NULL;
}

static int
stopped_put(void)
{
	int	r;

	claim(0, NULL);
	io_catch_signals();
	(void)raise(SIGTERM);
	r = target_fetch(&target, V1, topfd, "stopped", &err);
	return r == -1 && err.code == MSG_TEMPFAIL &&
	    strstr(err.text, "stopped by a signal") != NULL &&
	    faccessat(topfd, "stopped", F_OK, 0) == -1;
}

static void
publishers(void)
{
	struct target_claim	 c = { "nonsense", 3, NULL, NULL };
	struct target_commit	 won;
	struct target_upload	*other;
	struct obj		*o;
	char			 who[TARGET_WHO_MAX], ptr[TARGET_VERSION_MAX];
	unsigned char		 d[HASH_LEN];

	world(1);
	other = target_begin(&target, NULL, "mine", &c, &err);
	refused(other == NULL ? -1 : 0, MSG_SOFTWARE, "nonsense",
	    "a claim of what is no version");
	c.version = V3;
	fail_with("claim", OTHERS, 1);
	forever = 1;
	other = target_begin(&target, NULL, "mine", &c, &err);
	refused(other == NULL ? -1 : 0, MSG_SOFTWARE, "taken, again and",
	    "no name is free");

	upload(1, "mine");
	memcpy(d, digest, sizeof(d));
	d[0] ^= 1;
	refused(target_put(up, storefd, &manifest, d, 0, &err), MSG_IOERR,
	    "not what was written", "another manifest came to lie there");
	o = obj_find(TARGET_STAGING "/mine/" TARGET_OWNER);
	o->age = TARGET_CLAIM_USE + HOUR;
	refused(target_commit(up, &commit, NULL, &err), MSG_TEMPFAIL,
	    "13 hours old", "a claim that others may take for a dead one's");
	tap_ok(head() == 2, "commits nothing");
	over();

	claim(1, V1);
	then("age", another_removes);
	refused(target_commit(up, &commit, NULL, &err), MSG_NOINPUT,
	    "was removed meanwhile", "a rollback to what goes meanwhile");
	tap_ok(head() == 2, "commits nothing");
	over();

	upload(1, "mine");
	another_commits();
	fail_with("get", REFUSED, 1);
	refused(target_commit(up, &commit, NULL, &err), MSG_TEMPFAIL,
	    "is not known; nothing was removed",
	    "a commit that cannot be read back");
	fail_at = 0;
	tap_ok(target_abandon(up, &err) == 0 && has(V3) &&
	    names(TARGET_STAGING) == 1, "leaves its upload and claim");
	over();

	upload(1, "mine");
	another_commits();
	another_rolls_back();
	(void)under->remove(impl_under, "commits/3.json", &err);
	tap_ok(target_commit(up, &commit, &won, &err) == 1 &&
	    won.generation == 4 && strcmp(won.version, V1) == 0,
	    "a generation that was taken and lost: who came after it won");
	target_commit_clear(&won);
	over();

	upload(1, "mine");
	tap_ok(target_commit(up, &commit, NULL, &err) == 0, "committed");
	then("replace", another_commits);
	tap_ok(target_advance(up, &err) >= 0 &&
	    target_pointer(&target, ptr, &err) == 1 && strcmp(ptr, V4) == 0,
	    "a newer one meanwhile: the pointer names that");
	over();

	tap_ok(in_child(stopped_commit), "stopped while nobody knows of a "
	    "commit: 75, and nothing is removed");
	tap_ok(in_child(stopped_pointer), "stopped while others move the "
	    "pointer: 75");
	tap_ok(in_child(stopped_put), "stopped while it copies: 75, and no "
	    "copy is left");

	upload(1, "mine");
	memset(&c, 0, sizeof(c));
	c.keeps = V3;
	other = target_begin(&target, NULL, "theirs", &c, &err);
	tap_ok(target_rival(other, V3, who, &err) == 1 &&
	    strncmp(who, "run mine on ", 12) == 0, "a rival: %s", who);
	tap_ok(target_rival(up, V3, who, &err) == 1 &&
	    strncmp(who, "run theirs on ", 14) == 0, "and its own: %s", who);
	tap_ok(target_rival(up, V1, who, &err) == 0, "none over another");
	(void)target_finish(other, &err);
	target_upload_free(other);
	tap_ok(target_rival(up, V3, who, &err) == 0, "nor when it is over");
	fail_with("list", REFUSED, 1);
	refused(target_rival(up, V3, who, &err), MSG_IOERR, "as asked",
	    "rivals that cannot be listed");
	over();
	tap_ok(names(TARGET_STAGING) == 0 && !has(V3),
	    "who gives up leaves nothing");
}

/* A dead one's upload, that somebody else writes to as we take it up. */
static void
heirs(void)
{
	struct target_claim	c = { V3, 3, NULL, NULL };
	struct obj		*o;
	char			hex[HASH_HEX];

	hash_hex(digest, hex);
	c.manifest = hex;
	world(1);
	up = target_begin(&target, NULL, "died", &c, &err);
	(void)target_put(up, storefd, &manifest, digest, 0, &err);
	die(up);
	c.version = V4;
	fail_with("replace", OTHERS, 1);
	up = target_begin(&target, NULL, "heir", &c, &err);
	refused(up == NULL ? -1 : 0, MSG_TEMPFAIL, "wrote to it",
	    "an heir that is not alone");
	fail_at = 0;
	(void)under->remove(impl_under, TARGET_STAGING "/died/heir-of-died",
	    &err);
	o = obj_find(TARGET_STAGING "/died/" TARGET_OWNER);
	o->age = TARGET_CLAIM_USE + HOUR;
	up = target_begin(&target, NULL, "heir", &c, &err);
	tap_ok(up != NULL && strcmp(target_upload_version(up), V4) == 0,
	    "an old upload is not taken up");
	over();
}

/*
 * Removal, and those who died.
 */

static void
removers(void)
{
	claim(1, NULL);
	fail_with("replace", OTHERS, 1);
	refused(target_remove(up, V1, &err), MSG_TEMPFAIL,
	    "somebody else wrote to it", "a removal that cannot be announced");
	fail_at = 0;
	tap_ok(has(V1), "removes nothing");
	fail_with("replace", REFUSED, 1);
	refused(target_remove(up, V1, &err), MSG_IOERR, "as asked",
	    "one that is refused");
	tap_ok(has(V1) && calls == 1, "is not made again");
	fail_at = 0;
	then("replace", another_rolls_back);
	refused(target_remove(up, V1, &err), MSG_TEMPFAIL,
	    "has become the current version", "what became current meanwhile");
	tap_ok(has(V1) && head() == 3, "stays");
	refused(target_remove(up, "../x", &err), MSG_USAGE,
	    "not a version id", "what is no version");
	over();
	claim(1, NULL);
	fail_with("replace", DROPPED, 1);
	tap_ok(target_remove(up, V1, &err) == 0 && !has(V1) && calls == 2,
	    "an announcement of which nobody knows is made again");
	over();
	claim(0, NULL);
	refused(target_remove(up, V2, &err), MSG_TEMPFAIL,
	    "has become the current version", "the current one of a directory");
	refused(target_remove(up, "../x", &err), MSG_USAGE,
	    "not a version id", "what is no version");
	tap_ok(has(V2), "stays");
	over();
}

static unsigned int	n_said;

static void
say_left(void *arg, const struct target_left *l)
{
	(void)arg;
	(void)l;
	n_said++;
}

static int
collect(uint64_t age, int dry)
{
	n_said = 0;
	return target_collect(&target, age, dry, say_left, NULL, &err);
}

static void
owner(const char *run, const char *text)
{
	char	dir[128], key[160];
	int	held;

	(void)snprintf(dir, sizeof(dir), TARGET_STAGING "/%s", run);
	(void)snprintf(key, sizeof(key), "%s/" TARGET_OWNER, dir);
	if (under->claim(impl_under, dir, text, strlen(text), &held,
	    &err) == 0)
		under->release(impl_under, held);
}

static void
sweepers(void)
{
	struct target_upload	*living;
	struct target_claim	 c = { V3, 3, NULL, NULL };
	char			 host[256], text[1024];

	memset(host, 0, sizeof(host));
	(void)gethostname(host, sizeof(host) - 1);
	upload(0, "mine");
	fail_with("hold", REFUSED, 1);
	tap_ok(collect(0, 0) == 0 && n_said == 0 && has(V3) &&
	    names(TARGET_STAGING) == 1,
	    "who cannot be asked is not taken for dead");
	fail_at = 0;
	living = target_resume(&target, "mine", &err);
	refused(living == NULL ? -1 : 0, MSG_TEMPFAIL, "another process is",
	    "a claim that somebody holds is not taken up");
	target_upload_free(up);
	tap_ok(collect(0, 1) == 0 && n_said == 1 && has(V3) &&
	    names(TARGET_STAGING) == 1, "a dry sweep says, and leaves all");
	up = target_resume(&target, "mine", &err);
	tap_ok(target_finish(up, &err) == 0 && target_finish(up, &err) == 0 &&
	    target_abandon(up, &err) == 0 && has(V3) &&
	    names(TARGET_STAGING) == 0, "what is over is over once");
	over();

	world(0);
	owner("odd", "{\"host\":\"far.invalid\",\"x\":[1,{\"y\":[]}],"
	    "\"z\":null,\"created_ns\":-5,\"n\":{\"host\":\"q\"}}");
	owner("torn", "{\"host\":\"far.invalid\",\"x\":[1,");
	owner("cut", "{\"host\":\"far.invalid\",\"x\":1");
	owner("none", "[]");
	tap_ok(collect(0, 0) == 0 && n_said == 3 &&
	    names(TARGET_STAGING) == 1 && names(TARGET_STAGING "/odd") == 1,
	    "what says more is of another host, what says nothing is dead");
	(void)snprintf(text, sizeof(text), "{\"host\":\"%s\",\"place\":\"p\","
	    "\"staging\":\"/nowhere\",\"created_ns\":%lld}", host,
	    (long long)io_wall_ns());
	owner("box", text);
	tap_ok(collect(0, 0) == 0 && n_said == 0 &&
	    names(TARGET_STAGING "/box") == 1,
	    "nor is a container of this host's name");

	world(1);
	owner("none", "[]");
	(void)snprintf(text, sizeof(text), "{\"host\":\"%s\",\"run\":\"r\"}",
	    host);
	owner("old", text);
	tap_ok(collect(0, 0) == 0 && n_said == 0 &&
	    names(TARGET_STAGING) == 2, "among objects only age tells");
	obj_find(TARGET_STAGING "/old/" TARGET_OWNER)->age =
	    TARGET_CLAIM_LIFE + 1;
	tap_ok(collect(HOUR, 0) == 0 && n_said == 1 &&
	    names(TARGET_STAGING) == 1, "and it does");
	up = target_begin(&target, NULL, "nopid", &c, &err);
	target_upload_free(up);
	bury("nopid", 0);
	tap_ok(collect(0, 0) == 0 && n_said == 0,
	    "who names no process is not known to be dead");
	up = target_resume(&target, "nopid", &err);
	over();
}

/*
 * Notes, pins, and what readers meet.
 */

static void
keepers(void)
{
	struct buf	b;
	char		pin[TARGET_PIN_MAX], *reason;
	int64_t		age;
	int		n = 0;

	claim(1, NULL);
	(void)target_note_set(up, "quarantine/n/v", "1", 1, &err);
	fail_with("replace", OTHERS, 1);
	forever = 1;
	refused(target_note_set(up, "quarantine/n/v", "2", 1, &err),
	    MSG_TEMPFAIL, "somebody else wrote to it", "a note of two");
	fail_with("create", DROPPED, 1);
	forever = 1;
	refused(target_note_add(up, "quarantine/n/w", "2", 1, &err),
	    MSG_TEMPFAIL, "no answer", "a note that never arrives");
	forever = 0;
	fail_with("create", LOST, 1);
	tap_ok(target_note_add(up, "quarantine/n/x", "2", 1, &err) == 0,
	    "one whose answer is lost is there");
	fail_at = 0;
	buf_init(&b, 16);
	tap_ok(target_note_get(&target, "quarantine/n/w", &b, &err) == 0 &&
	    target_note_get(&target, "quarantine/n/x", &b, &err) == 1 &&
	    strcmp(buf_cstr(&b), "2") == 0, "and the other is not");
	buf_free(&b);
	refused(target_pin_name(pin, "latest", NULL, &err), MSG_USAGE,
	    "not a version id", "a pin on what is no version");
	refused(target_pin_name(pin, V1, "a/b", &err), MSG_USAGE,
	    "not the name of a lease", "a lease of a path's name");
	reason = mem_zero(1, TARGET_COMMIT_MAX + 1);
	memset(reason, 'r', TARGET_COMMIT_MAX);
	refused(target_hold(up, V1, V1, reason, 0, &err), MSG_USAGE,
	    "reason too long", "a reason without end");
	free(reason);
	then("create", another_removes);
	refused(target_hold(up, V1, V1, NULL, 0, &err), MSG_NOINPUT,
	    "is not there", "a pin on what goes meanwhile");
	lay(TARGET_PINS "/notes/pin.json", "{}");
	lay(TARGET_PINS "/" V1 "x/pin.json", "{}");
	err.code = 0;
	tap_ok(target_pins(&target, NULL, &n, &err) == 0,
	    "neither is left, and what is none of ours is passed over");
	over();
	claim(0, NULL);
	tap_ok(target_note_age(&target, "quarantine/none", &age, &err) == 0,
	    "what is not there has no age");
	over();
}

static int
flood(void *impl, const char *key, int (*f)(const char *, void *),
    void *arg, struct err *e)
{
	char	name[16];
	int	i;

	(void)impl;
	(void)key;
	(void)e;
	for (i = 0; i < FLOOD; i++) {
		(void)snprintf(name, sizeof(name), "%d", i);
		if (f(name, arg) == -1)
			return -1;
	}
	return 0;
}

static void
object(const char *key, const char *text)
{
	lay(key, text);
}

static void
commits(void)
{
#define D64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	static const struct {
		const char	*text, *why;
	} bad[] = {
		{ "[]", "no JSON object" },
		{ "{\"format\":1", "malformed JSON" },
		{ "{\"x\":[1,", "malformed JSON" },
		{ "{\"format\":1} {}", "more than one JSON object" },
		{ "{\"format\":99}", "a format of commit that" },
		{ "{\"format\":1,\"generation\":7,\"x\":{\"y\":[1]}}",
		    "its generation is not its name" },
		{ "{\"format\":1,\"generation\":2,\"version\":\"latest\"}",
		    "no version id" },
		{ "{\"format\":1,\"generation\":2,\"version\":\"" V2 "\","
		    "\"parent\":\"first\"}", "no version id" },
		{ "{\"format\":1,\"generation\":2,\"version\":\"" V2 "\"}",
		    "kind, store or run is missing" },
		{ "{\"format\":1,\"generation\":2,\"version\":\"" V2 "\","
		    "\"kind\":\"publish\",\"store\":\"sqlite\",\"run\":\"r\","
		    "\"manifest_sha256\":\"" D64 "\"}",
		    "its digests are missing" },
		{ NULL, NULL }
	};
	struct target_commit	c;
	size_t			i;

	world(1);
	for (i = 0; bad[i].text != NULL; i++) {
		object("commits/2.json", bad[i].text);
		refused(target_head(&target, &c, &err), MSG_DATAERR,
		    bad[i].why, "a commit that says nothing");
	}
}

static void
readers(void)
{
	struct target_commit	 c;
	struct target_names	 w;
	struct manifest		 m;
	char			 ptr[TARGET_VERSION_MAX], **v;
	size_t			 n;
	uint64_t		 g;

	world(1);
	ops.list = flood;
	refused(target_versions(&target, &v, &n, &err), MSG_IOERR,
	    "more than 1000000 names", "a directory without end");
	ops.list = w_list;
	fail_with("get", OTHERS, 1);
	refused(target_newest(&target, &c, &err), MSG_NOINPUT,
	    "it was listed and is gone", "a commit that goes meanwhile");
	refused(target_newest(&target, &c, &err) == 1 ?
	    (target_commit_clear(&c), target_manifest(&target, V4, &m, NULL,
	    &err)) : 0, MSG_NOINPUT, "it is not there", "a version's manifest");
	refused(target_manifest(&target, "x", &m, NULL, &err), MSG_USAGE,
	    "not a version id", "what is no version");
	refused(target_has(&target, "x", &err), MSG_USAGE,
	    "not a version id", "nor is it there");
	tap_ok(target_version_path(&target, "x") == NULL, "nor has it a path");

	object("latest-pointer.txt", D64 D64);
	tap_ok(target_pointer(&target, ptr, &err) == 2 && *ptr == '\0',
	    "a pointer that is too long says nothing");
	tap_ok(target_head(&target, &c, &err) == 1, "and nothing is lost");
	target_commit_clear(&c);

	/* a pointer to what no commit names, and a gap among the commits */
	upload(1, "mine");
	object("latest-pointer.txt", V3);
	(void)under->remove(impl_under, "commits/1.json", &err);
	refused(target_head(&target, &c, &err), MSG_NOINPUT,
	    "commits were lost", "a pointer that no commit explains");
	tap_ok(target_generation_before(&target, 2, &g, &err) == 0 && g == 0,
	    "what is before the gap");
	object("commits/1.json", "{}");
	refused(target_head(&target, &c, &err), MSG_DATAERR, "1.json",
	    "a commit of the past that says nothing");
	object("commits/9223372036854775808.json", "{}");
	refused(target_generation_before(&target, 2, &g, &err), MSG_DATAERR,
	    "no commit has such a name", "a number without end");
	over();

	world(1);
	object(TARGET_VERSIONS "/" V1 "/" MANIFEST_NAME, "{");
	refused(target_manifest(&target, V1, &m, NULL, &err), MSG_DATAERR,
	    V1 "/" MANIFEST_NAME, "a manifest that is none");
	refused(target_verify(&target, V1, &err), MSG_DATAERR,
	    MANIFEST_NAME, "nor is its version whole");
	world(1);
	then("fetch", another_writes);
	refused(target_fetch(&target, V1, topfd, "copy", &err), MSG_DATAERR,
	    "changed while it was copied", "a version that changes meanwhile");
	tap_ok(faccessat(topfd, "copy", F_OK, 0) == -1, "leaves no copy");
	refused(target_fetch(&target, V2, topfd, "store", &err), MSG_IOERR,
	    "File exists", "a place that is taken");
	tap_ok(faccessat(topfd, "store/" MANIFEST_NAME, F_OK, 0) == 0,
	    "and what is there stays");

	/* no commit at all, but a version that an upload claims */
	upload(1, "mine");
	(void)under->remove(impl_under, "commits", &err);
	(void)under->remove(impl_under, TARGET_POINTER, &err);
	refused(target_head(&target, &c, &err), MSG_NOINPUT,
	    V1 " is there but no commit is", "versions that nobody committed");
	(void)under->remove(impl_under, TARGET_VERSIONS "/" V1, &err);
	(void)under->remove(impl_under, TARGET_VERSIONS "/" V2, &err);
	tap_ok(target_head(&target, &c, &err) == 0, "one that is claimed");
	fail_with("list", REFUSED, 2);
	refused(target_head(&target, &c, &err), MSG_IOERR, "as asked",
	    "versions that cannot be listed");
	fail_with("list", REFUSED, 3);
	refused(target_head(&target, &c, &err), MSG_IOERR, "as asked",
	    "claims that cannot be listed");
	fail_at = 0;
	tap_ok(target_list(&target, "none", &w, &err) == 0 && w.n == 0,
	    "what is not there holds nothing");
	over();
}

/*
 * A directory.
 */

static void
nobody_hears(const char *what, void *arg)
{
	(void)what;
	(void)arg;
}

static int
probe(const char *call, enum how h, unsigned long n)
{
	int	r;

	claim(0, NULL);
	fail_with(call, h, n);
	r = target_probe(up, nobody_hears, NULL, &err);
	over();
	return r;
}

static void
probes(void)
{
	tap_ok(probe("none", REFUSED, 1) == 0, "a directory excludes");
	refused(probe("create", OTHERS, 1), MSG_SOFTWARE,
	    "a name that was free", "where a free name is taken");
	refused(probe("create", IGNORED, 2), MSG_USAGE,
	    "this place does not exclude", "where two create one name");
	refused(probe("create", REFUSED, 2), MSG_IOERR, "as asked",
	    "where the second fails");
	refused(probe("replace", REFUSED, 1), MSG_IOERR, "as asked",
	    "where nothing can be replaced");
	refused(probe("replace", IGNORED, 1), MSG_IOERR,
	    "is not what was written", "where nothing is replaced");
	refused(probe("rename", REFUSED, 1), MSG_IOERR, "as asked",
	    "where nothing can be renamed");
	refused(probe("hold", IGNORED, 1), MSG_USAGE,
	    "locks do not exclude", "where two hold one lock");
	refused(probe("hold", REFUSED, 1), MSG_IOERR, "as asked",
	    "where nothing can be locked");
}

static void
text_file(int dir, const char *name, const char *text)
{
	int	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	(void)io_write(fd, text, strlen(text));
	(void)close(fd);
}

static void
files(void)
{
	struct target_opts	make = { 1, NULL, NULL, 0 };
	struct manifest		m;
	unsigned char		d[HASH_LEN];
	char			path[1200], *s;
	struct target		*t;
	unsigned long		n = 0;

	claim(0, NULL);
	over();
	upload(0, "mine");
	(void)under->remove(impl_under, TARGET_VERSIONS "/" V3, &err);
	text_file(storefd, "sub/bytes", "bites");
	refused(target_put(up, storefd, &manifest, digest, 0, &err),
	    MSG_DATAERR, "sha256: want", "bytes that changed since");
	text_file(storefd, "sub/bytes", "more bytes");
	refused(target_put(up, storefd, &manifest, digest, 0, &err),
	    MSG_DATAERR, "size: want 5, got 10", "a size that changed");
	text_file(storefd, "sub/bytes", "bytes");
	memset(&m, 0, sizeof(m));
	memset(d, 1, sizeof(d));
	manifest_add_file(&m, "sub", 0, d);
	refused(target_put(up, storefd, &m, digest, 0, &err), MSG_DATAERR,
	    "not a regular file", "a directory for a file");
	manifest_clear(&m);
	tap_ok(!has(V3), "and no version is there");
	over();
	(void)snprintf(path, sizeof(path), "%s/a/b/c", top);
	for (s = path; *s != '\0'; s++)
		n += *s == '/';
	/* each directory above it is tried */
	nth_start("mkdir", n);
	t = target_open(path, &make, &err);
	(void)nth_stop();
	refused(t == NULL ? -1 : 0, MSG_IOERR, "No space left",
	    "a target that cannot be made");
}

int
main(void)
{
	msg_init("target_odd");
	tap_plan(100);
	worlds_open("target_odd");
	publishers();
	heirs();
	removers();
	sweepers();
	keepers();
	commits();
	readers();
	probes();
	files();
	worlds_close();
	return tap_done();
}
