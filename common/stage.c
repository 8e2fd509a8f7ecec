/*
 * stage: staging and work directories, and who may sweep them.  It knows
 * nothing of what is put in them.
 *
 * Order is what makes sweeping safe: a directory without its lock (or
 * owner) file is either just being made or just being removed, so only an
 * empty one may go, and its maker, finding it gone, makes another; or its
 * removal was cut off by a power cut, and then it goes when it is old.
 * SPDX-License-Identifier: ISC
 */
#define _DEFAULT_SOURCE /* flock, gethostname */
#include "stage.h"

#include <sys/file.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"
#include "io.h"
#include "json.h"
#include "mem.h"
#include "path.h"
#include "banned.h"

#define STAGE_PREFIX	"intact."
#define STAGE_WORK	".intact."
#define STAGE_LOCK	"lock"
#define STAGE_OWNER	"owner"
#define STAGE_OWNER_TMP	"owner.new"
#define STAGE_OWNER_MAX	16384	/* bytes */
#define STAGE_TRIES	100
#define STAGE_OVER	0700	/* mode of the lock file of a run that ended */
#define STAGE_HANDOFF	"handoff"
#define STAGE_HANDOFF_S	600	/* seconds that a handoff is good for */
#define STAGE_LOST_S	86400	/* seconds until what nobody owns is litter */
#define STAGE_UNSEEN_S	604800	/* until what cannot be looked at is */
#define STAGE_BOOT	36	/* bytes of a boot's id */

int
stage_run_id(char out[STAGE_RUN_MAX], struct err *e)
{
	struct timespec	ts;
	struct tm	tm;
	char		hex[9];

	if (io_random_hex(hex, 4, e) == -1)
		return -1;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (gmtime_r(&ts.tv_sec, &tm) == NULL)
		return err_set(e, MSG_IOERR, "clock: no such time");
	(void)snprintf(out, STAGE_RUN_MAX,
	    "%04d%02d%02dT%02d%02d%02d.%06ldZ-%s", tm.tm_year + 1900,
	    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    ts.tv_nsec / 1000, hex);
	return 0;
}

void
stage_place(char out[STAGE_PLACE_MAX])
{
	struct err	e = { 0, "" };
	struct buf	b;
	char		pid[64] = "", mnt[64] = "";

	out[0] = '\0';
	buf_init(&b, 128);
	if (io_slurp(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &b,
	    &e) == 0 && readlink("/proc/self/ns/pid", pid,
	    sizeof(pid) - 1) > 0 && readlink("/proc/self/ns/mnt", mnt,
	    sizeof(mnt) - 1) > 0) {
		while (b.len > 0 && b.p[b.len - 1] == '\n')
			b.len--;
		(void)snprintf(out, STAGE_PLACE_MAX, "%.64s %s %s",
		    buf_cstr(&b), pid, mnt);
	}
	buf_free(&b);
}

#ifdef __linux__
/* File systems that one kernel alone can have mounted. */
static int
is_own_disk(int fd)
{
	static const unsigned long	magic[] = {
		0xef53UL,	/* ext */
		0x58465342UL,	/* XFS */
		0x9123683eUL,	/* Btrfs */
		0xf2f52010UL,	/* F2FS */
		0x2fc12fc1UL,	/* ZFS */
		0x01021994UL	/* tmpfs */
	};
	struct statfs			fs;
	size_t				i;

	if (fstatfs(fd, &fs) == -1)
		return 0;
	for (i = 0; i < sizeof(magic) / sizeof(magic[0]); i++)
		if (((unsigned long)fs.f_type & 0xffffffffUL) == magic[i])
			return 1;
	return 0;
}
#else
static int
is_own_disk(int fd)
{
	(void)fd;
	return 0;
}
#endif

int
stage_other_boot(int fd, const char *place)
{
	char	here[STAGE_PLACE_MAX];

	stage_place(here);
	return strcspn(here, " ") == STAGE_BOOT &&
	    strcspn(place, " ") == STAGE_BOOT &&
	    strncmp(here, place, STAGE_BOOT) != 0 && is_own_disk(fd);
}

const char *
stage_parent(void)
{
	const char	*s = getenv("TMPDIR");

	return s != NULL && *s != '\0' ? s : "/var/tmp";
}

static char *
join(const char *a, const char *b, const char *c)
{
	struct buf	 s;
	char		*rv;

	buf_init(&s, 16384);
	buf_printf(&s, "%s/%s%s", a, b, c);
	rv = mem_dup(buf_cstr(&s));
	buf_free(&s);
	return rv;
}

static void
clear(struct stage *s)
{
	memset(s, 0, sizeof(*s));
	s->dirfd = s->lockfd = -1;
}

void
stage_clear(struct stage *s)
{
	if (s->dirfd > 0)
		(void)close(s->dirfd);
	if (s->lockfd > 0)
		(void)close(s->lockfd);
	free(s->path);
	clear(s);
}

/* Make path and take its lock: 0, 1 try another name, -1. */
static int
make(struct stage *s, struct err *e)
{
	struct stat	st;

	if (mkdir(s->path, 0700) == -1)
		return errno == EEXIST ? 1 : err_sys(e, errno, "%s: staging "
		    "cannot be made there (TMPDIR, drun --stage-parent)",
		    s->path);
	s->dirfd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd == -1)
		return errno == ENOENT ? 1 : err_sys(e, errno, "%s", s->path);
	s->lockfd = openat(s->dirfd, STAGE_LOCK, O_RDWR | O_CREAT | O_EXCL |
	    O_CLOEXEC, 0600);
	if (s->lockfd == -1)
		return errno == ENOENT ? 1 : err_sys(e, errno, "%s/%s",
		    s->path, STAGE_LOCK);
	if (flock(s->lockfd, LOCK_SH) == -1 || fstat(s->lockfd, &st) == -1)
		return err_sys(e, errno, "%s: lock", s->path);
	return st.st_nlink == 0;	/* swept before it was locked */
}

int
stage_make(struct stage *s, const char *parent, const char *run,
    struct err *e)
{
	char		*dir;
	unsigned int	 n;
	int		 tries, r = 1;

	clear(s);
	dir = path_from_url(parent, e);
	if (dir == NULL)
		return -1;
	if (stage_collect(dir, &n, e) == -1)
		goto done;
	for (tries = 0; r == 1 && tries < STAGE_TRIES; tries++) {
		stage_clear(s);
		if (run != NULL)
			(void)snprintf(s->run, sizeof(s->run), "%s", run);
		else if (stage_run_id(s->run, e) == -1)
			goto done;
		s->path = join(dir, STAGE_PREFIX, s->run);
		r = make(s, e);
	}
	if (r == 1)
		err_set(e, MSG_TEMPFAIL, "%s: cannot be made: it exists or "
		    "is swept away", s->path);
done:
	free(dir);
	if (e->code != 0) {
		stage_clear(s);
		return -1;
	}
	return 0;
}

int
stage_join(struct stage *s, const char *path, struct err *e)
{
	struct stat	 st;
	const char	*base;

	clear(s);
	s->path = path_from_url(path, e);
	if (s->path == NULL)
		return -1;
	base = path_base(s->path);
	if (strncmp(base, STAGE_PREFIX, sizeof(STAGE_PREFIX) - 1) != 0 ||
	    strlen(base) - (sizeof(STAGE_PREFIX) - 1) >= STAGE_RUN_MAX) {
		err_set(e, MSG_USAGE, "%s: staging: want a directory named "
		    "intact.<run>, made by drun or dfetch", s->path);
		goto fail;
	}
	(void)snprintf(s->run, sizeof(s->run), "%s",
	    base + sizeof(STAGE_PREFIX) - 1);
	s->dirfd = open(s->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (s->dirfd == -1 || fstat(s->dirfd, &st) == -1) {
		err_sys(e, errno, "%s: staging", s->path);
		goto fail;
	}
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
		err_set(e, MSG_NOPERM, "%s: staging: want a directory of "
		    "our own with mode 0700", s->path);
		goto fail;
	}
	s->lockfd = openat(s->dirfd, STAGE_LOCK, O_RDWR | O_NOFOLLOW |
	    O_CLOEXEC);
	if (s->lockfd == -1 || flock(s->lockfd, LOCK_SH) == -1 ||
	    fstat(s->lockfd, &st) == -1) {
		err_sys(e, errno, "%s/%s: staging", s->path, STAGE_LOCK);
		goto fail;
	}
	if (st.st_nlink == 0) {
		err_set(e, MSG_NOINPUT, "%s: staging: its run has ended",
		    s->path);
		goto fail;
	}
	return 0;
fail:
	stage_clear(s);
	return -1;
}

/* Empty the directory behind fd, the file last excepted; takes fd. */
static int
sweep(int fd, const char *name, const char *last, struct err *e)
{
	struct dirent	*de;
	DIR		*d = fdopendir(fd);
	int		 rv = -1;

	if (d == NULL) {
		err_sys(e, errno, "%s", name);
		(void)close(fd);
		return -1;
	}
	for (;;) {
		errno = 0;
		de = readdir(d);
		if (de == NULL)
			break;
		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    strcmp(de->d_name, last) == 0)
			continue;
		if (io_rmtree(fd, de->d_name, e) == -1)
			goto done;
	}
	if (errno != 0)
		err_sys(e, errno, "%s", name);
	else
		rv = 0;
done:
	(void)closedir(d);
	return rv;
}

/* Remove name below dirfd: its content, then the file last, then it. */
static int
discard(int dirfd, const char *name, const char *last, struct err *e)
{
	int	fd;

	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", name);
	if (sweep(fd, name, last, e) == -1)
		return -1;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (fd == -1)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s", name);
	(void)unlinkat(fd, last, 0);
	(void)close(fd);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == -1 && errno != ENOENT)
		return err_sys(e, errno, "%s: remove", name);
	return 0;
}

int
stage_remove(struct stage *s, struct err *e)
{
	if (s->path == NULL)
		return 0;
	return discard(AT_FDCWD, s->path, STAGE_LOCK, e);
}

void
stage_handoff(const struct stage *s)
{
	int	fd;

	fd = openat(s->dirfd, STAGE_HANDOFF, O_WRONLY | O_CREAT | O_CLOEXEC,
	    0600);
	if (fd != -1)
		(void)close(fd);
}

/* The lock file fd is ours alone: nobody of that run lives. */
static int
sole(int fd)
{
	struct stat	st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
	    st.st_nlink > 0;
}

/*
 * The mark that the run is over is a bit of the lock file's mode: it needs
 * no room on a disk that is full.  Of two that leave at once at least one
 * gets the lock, since who fails to has given up what it held.
 */
int
stage_leave(struct stage *s, int over, struct err *e)
{
	struct stat	st;

	if (s->path == NULL)
		return 0;
	if (over && fchmod(s->lockfd, STAGE_OVER) == -1)
		return err_sys(e, errno, "%s/%s", s->path, STAGE_LOCK);
	if (!sole(s->lockfd) || fstat(s->lockfd, &st) == -1 ||
	    (st.st_mode & 0777) != STAGE_OVER)
		return 0;
	return stage_remove(s, e);
}

/* Begins the name with a run id behind that prefix? */
static int
is_named_by_run(const char *name, const char *prefix)
{
	static const char	form[] = "00000000T000000.000000Z-xxxxxxxx";
	size_t			i, n = strlen(prefix);

	if (strncmp(name, prefix, n) != 0)
		return 0;
	for (i = 0, name += n; form[i] != '\0'; i++)
		if (form[i] == '0' ? name[i] < '0' || name[i] > '9' :
		    form[i] == 'x' ? name[i] == '\0' ||
		    strchr("0123456789abcdef", name[i]) == NULL :
		    name[i] != form[i])
			return 0;
	return name[i] == '\0' || name[i] == '.';
}

/*
 * A directory that has lost its lock or owner: 0, or -1.  A power cut may
 * keep the removal of that and not the removals before it, and then there
 * is nobody to ask; what has been still for so long is not being removed.
 * Its name must be one that we make: it may be somebody else's.
 */
static int
remove_lost(int dirfd, const char *name, const char *prefix, struct err *e)
{
	struct stat	st;

	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 ||
	    (errno != ENOTEMPTY && errno != EEXIST) ||
	    !is_named_by_run(name, prefix) ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    io_wall_ns() / 1000000000 - st.st_mtime < STAGE_LOST_S)
		return 0;
	return io_rmtree(dirfd, name, e);
}

/* What cannot be removed costs the new run nothing: the next may try. */
static void
collect_one(int dirfd, const char *name, unsigned int *n)
{
	struct err	e = { 0, "" };
	struct stat	st;
	int		dir, fd, errnum, given;

	dir = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
	    O_CLOEXEC);
	if (dir == -1)
		return; /* gone, or not a directory: not ours */
	if (fstat(dir, &st) == -1 || st.st_uid != geteuid()) {
		(void)close(dir);
		return;
	}
	fd = openat(dir, STAGE_LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	errnum = errno;
	given = fstatat(dir, STAGE_HANDOFF, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    io_wall_ns() / 1000000000 - st.st_mtime < STAGE_HANDOFF_S;
	(void)close(dir);
	if (fd == -1) {
		if (errnum == ENOENT)
			(void)remove_lost(dirfd, name, STAGE_PREFIX, &e);
		return;
	}
	if (!given && sole(fd) && discard(dirfd, name, STAGE_LOCK, &e) == 0)
		(*n)++;
	(void)close(fd);
}

int
stage_collect(const char *parent, unsigned int *n, struct err *e)
{
	struct dirent	*de;
	DIR		*d = opendir(parent);

	*n = 0;
	if (d == NULL)
		return err_sys(e, errno, "%s: no place for staging (TMPDIR, "
		    "drun --stage-parent)", parent);
	while ((de = readdir(d)) != NULL)
		if (strncmp(de->d_name, STAGE_PREFIX,
		    sizeof(STAGE_PREFIX) - 1) == 0)
			collect_one(dirfd(d), de->d_name, n);
	(void)closedir(d);
	return 0;
}

int
stage_alive(const char *path)
{
	char	*lock = join(path, STAGE_LOCK, "");
	int	 fd, alive;

	fd = open(lock, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	free(lock);
	if (fd == -1)
		return errno != ENOENT && errno != ENOTDIR;
	alive = !sole(fd);
	(void)close(fd);
	return alive;
}

static void
hostname(char *p, size_t n)
{
	if (gethostname(p, n) == -1)
		(void)snprintf(p, n, "localhost");
	p[n - 1] = '\0';
}

int
stage_work_make(const struct stage *s, int dirfd, char **name,
    struct err *e)
{
	struct buf	b;
	char		host[256], place[STAGE_PLACE_MAX], hex[9], work[128];
	int		tries, fd = -1, rv = -1;

	*name = NULL;
	buf_init(&b, STAGE_OWNER_MAX);
	hostname(host, sizeof(host));
	stage_place(place);
	buf_addc(&b, '{');
	json_put_kstr(&b, "run", s->run);
	json_put_kstr(&b, "host", host);
	json_put_kstr(&b, "place", place);
	json_put_kstr(&b, "stage", s->path);
	buf_str(&b, "}\n");
	for (tries = 0; tries < STAGE_TRIES; tries++) {
		if (io_random_hex(hex, 4, e) == -1)
			goto done;
		(void)snprintf(work, sizeof(work), "%s%s.%s", STAGE_WORK,
		    s->run, hex);
		if (mkdirat(dirfd, work, 0777) == -1) {
			if (errno == EEXIST)
				continue;
			err_sys(e, errno, "%s", work);
			goto done;
		}
		fd = openat(dirfd, work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd == -1 && errno == ENOENT)
			continue;
		if (fd == -1) {
			err_sys(e, errno, "%s", work);
			goto done;
		}
		if (io_replace(fd, STAGE_OWNER, STAGE_OWNER_TMP, b.p, b.len,
		    e) == 0)
			break;
		(void)close(fd);
		fd = -1;
		(void)unlinkat(dirfd, work, AT_REMOVEDIR);
		if (e->code != MSG_NOINPUT)
			goto done;
		e->code = 0; /* swept between two steps: make another */
	}
	if (fd == -1) {
		err_set(e, MSG_TEMPFAIL, "%s: cannot be made", work);
		goto done;
	}
	*name = mem_dup(work);
	rv = 0;
done:
	if (fd != -1)
		(void)close(fd);
	buf_free(&b);
	return rv;
}

/* Is that what the owner says of key? */
static int
says(struct json *j, const struct buf *b, const char *key, const char *what)
{
	struct json_val	v;

	return json_find(j, (const char *)b->p, b->len, &v, key, NULL) == 1 &&
	    v.type == JSON_STR && v.len == strlen(what) &&
	    memcmp(v.str, what, v.len) == 0;
}

/* Has nothing in the work directory fd changed for that long? */
static int
is_older(int fd, int64_t seconds)
{
	struct stat	st, own;
	int64_t		now = io_wall_ns() / 1000000000;

	return fstat(fd, &st) == 0 && fstatat(fd, STAGE_OWNER, &own,
	    AT_SYMLINK_NOFOLLOW) == 0 && now - st.st_mtime > seconds &&
	    now - own.st_mtime > seconds;
}

/*
 * 1 when the work directory's run is dead, as far as can be told here: its
 * staging may lie in another container, or on a machine of the same name.
 */
static int
work_dead(int fd)
{
	struct buf	 b;
	struct json	 j;
	struct json_val	 v;
	struct err	 e = { 0, "" };
	char		 host[256], place[STAGE_PLACE_MAX], *path;
	int		 dead = 0;

	memset(&j, 0, sizeof(j));
	buf_init(&b, STAGE_OWNER_MAX);
	hostname(host, sizeof(host));
	stage_place(place);
	if (io_slurp(fd, STAGE_OWNER, &b, &e) == -1)
		goto done;
	if (json_find(&j, (char *)b.p, b.len, &v, "place", NULL) == 1 &&
	    v.type == JSON_STR) {
		path = mem_ndup(v.str, v.len);
		dead = stage_other_boot(fd, path);
		free(path);
		if (dead)
			goto done;
	}
	if (!says(&j, &b, "host", host) ||
	    (place[0] != '\0' && !says(&j, &b, "place", place) &&
	    !is_older(fd, STAGE_UNSEEN_S)))
		goto done;
	if (json_find(&j, (char *)b.p, b.len, &v, "stage", NULL) != 1 ||
	    v.type != JSON_STR)
		goto done;
	path = mem_ndup(v.str, v.len);
	dead = !stage_alive(path);
	free(path);
done:
	json_clear(&j);
	buf_free(&b);
	return dead;
}

int
stage_work_collect(int dirfd, struct err *e)
{
	struct dirent	*de;
	struct stat	 st;
	DIR		*d;
	int		 fd, work, rv = 0;

	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd != -1 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		err_sys(e, errno, "work directories");
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	while (rv == 0 && (de = readdir(d)) != NULL) {
		if (strncmp(de->d_name, STAGE_WORK,
		    sizeof(STAGE_WORK) - 1) != 0)
			continue;
		work = openat(fd, de->d_name, O_RDONLY | O_DIRECTORY |
		    O_NOFOLLOW | O_CLOEXEC);
		if (work == -1)
			continue;
		if (fstatat(work, STAGE_OWNER, &st, AT_SYMLINK_NOFOLLOW) ==
		    -1 && errno == ENOENT) {
			(void)unlinkat(work, STAGE_OWNER_TMP, 0);
			rv = remove_lost(fd, de->d_name, STAGE_WORK, e);
		} else if (work_dead(work))
			rv = discard(fd, de->d_name, STAGE_OWNER, e);
		(void)close(work);
	}
	(void)closedir(d);
	return rv;
}
