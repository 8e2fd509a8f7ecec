/*
 * hnsw_build: the same files whatever the threads; what is near is found;
 * indexes grow, lose elements, and are read back by hnsw.h.
 * SPDX-License-Identifier: ISC
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../common/hnsw_build.h"

#include "hash.h"
#include "hnsw.h"
#include "hnsw_graph.h"
#include "io.h"
#include "tap.h"
#include "team.h"
#include "vec.h"

#define TOP 10

static char		base[256];
static uint64_t		state = 88172645463325252U;

static double
uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)(state >> 11) / 0x1p53;
}

static float
gauss(void)
{
	return (float)(sqrt(-2 * log(uniform() + 1e-18)) *
	    cos(6.283185307179586 * uniform()));
}

/* n vectors in clusters; centres of them all are the same for one seed. */
static float *
clusters(size_t n, uint32_t dim, size_t k, double noise)
{
	float	*c = calloc(k * dim, sizeof(*c));
	float	*v = calloc(n * dim, sizeof(*v));
	size_t	 i, j;
	uint32_t d;

	if (c == NULL || v == NULL)
		exit(99);
	for (i = 0; i < k * dim; i++)
		c[i] = gauss();
	for (i = 0; i < n; i++) {
		j = (size_t)(uniform() * (double)k);
		for (d = 0; d < dim; d++)
			v[i * dim + d] = c[j * dim + d] +
			    (float)noise * gauss();
	}
	free(c);
	return v;
}

static struct hnsw_build *
begin(const char *name, const struct hnsw_params *p, int fresh)
{
	struct err		 e = { 0, "" };
	struct hnsw_build	*b;
	int			 fd = open(base, O_RDONLY | O_DIRECTORY);

	if (fresh)
		(void)mkdirat(fd, name, 0777);
	b = hnsw_build_new(fd, name, name, p, fresh, &e);
	(void)close(fd);
	if (b == NULL)
		printf("# %s\n", e.text);
	return b;
}

static int
put(struct hnsw_build *b, const float *v, size_t n, uint32_t dim)
{
	struct err	e = { 0, "" };
	uint64_t	label;
	size_t		i;

	for (i = 0; i < n; i++)
		if (hnsw_build_put(b, v + i * dim, NULL, &label, &e) == -1) {
			printf("# %s\n", e.text);
			return -1;
		}
	return 0;
}

static int
finish(struct hnsw_build *b)
{
	struct err	e = { 0, "" };

	if (hnsw_build_finish(b, &e) == -1) {
		printf("# %s\n", e.text);
		return -1;
	}
	return 0;
}

static int
make(const char *name, const struct hnsw_params *p, const float *v, size_t n)
{
	struct hnsw_build	*b = begin(name, p, 1);

	if (b == NULL)
		return -1;
	if (put(b, v, n, p->dim) == -1) {
		hnsw_build_free(b);
		return -1;
	}
	return finish(b);
}

static void
digest(const char *name, char hex[HASH_HEX])
{
	struct err	e = { 0, "" };
	unsigned char	d[HASH_LEN];
	int		fd = open(base, O_RDONLY | O_DIRECTORY);

	memset(hex, 0, HASH_HEX);
	if (hash_dir(fd, name, d, NULL, NULL, &e) == -1)
		printf("# %s\n", e.text);
	else
		hash_hex(d, hex);
	(void)close(fd);
}

static int
same(const char *a, const char *b)
{
	char	x[HASH_HEX], y[HASH_HEX];

	digest(a, x);
	digest(b, y);
	return *x != '\0' && strcmp(x, y) == 0;
}

/* Everything hnsw.h can prove: 0 when it holds, with n whole elements. */
static int
proved(const char *name, const struct hnsw_params *p, uint64_t n)
{
	struct err	e = { 0, "" };
	struct hnsw	h;
	uint64_t	whole = 0, live;
	int		fd = open(base, O_RDONLY | O_DIRECTORY), rv;

	rv = hnsw_open(&h, fd, name, name, p->dim,
	    p->space == ITEM_COSINE, &e);
	(void)close(fd);
	if (rv == 0) {
		rv = hnsw_check(&h, &whole, &e);
		if (rv == 0 && (whole != n || h.head.count != n))
			rv = err_set(&e, MSG_DATAERR, "%llu whole of %llu",
			    (unsigned long long)whole, (unsigned long long)n);
		if (rv == 0)
			rv = hnsw_check_graph(&h, &live, &e);
		hnsw_close(&h);
	}
	if (rv == -1)
		printf("# %s: %s\n", name, e.text);
	return rv == 0;
}

/* An index in memory, searched the plain way of the paper's algorithm 5. */
struct index {
	struct buf	 f;
	size_t		 len;
	uint64_t	 n;
	uint32_t	 enter, dim;
	size_t		 at;
};

static int
load(struct index *x, const char *name, const struct hnsw_params *p)
{
	struct err	e = { 0, "" };
	unsigned char	h[HNSW_HEADER_LEN];
	struct hnsw_header head;
	const char	*why;
	struct buf	f;
	char		path[512];
	int		fd = open(base, O_RDONLY | O_DIRECTORY), rv;

	buf_init(&f, HNSW_HEADER_LEN);
	buf_init(&x->f, (size_t)1 << 30);
	(void)snprintf(path, sizeof(path), "%s/header.bin", name);
	rv = io_slurp(fd, path, &f, &e);
	(void)snprintf(path, sizeof(path), "%s/data_level0.bin", name);
	if (rv == 0)
		rv = io_slurp(fd, path, &x->f, &e);
	(void)close(fd);
	if (rv == 0) {
		memcpy(h, f.p, HNSW_HEADER_LEN);
		rv = hnsw_header_decode(h, p->dim, &head, &why);
	}
	buf_free(&f);
	if (rv == -1)
		return -1;
	x->len = head.element_len;
	x->n = head.count;
	x->enter = head.enter;
	x->at = head.data_offset;
	x->dim = p->dim;
	return 0;
}

static double
dist(const struct index *x, const float *q, uint64_t i, enum item_space s)
{
	const unsigned char	*p = x->f.p + i * x->len + x->at;
	double			 d = 0;
	float			 f;
	uint32_t		 k;

	for (k = 0; k < x->dim; k++) {
		memcpy(&f, p + 4 * (size_t)k, 4);
		d += s == ITEM_L2 ? (q[k] - f) * (q[k] - f) : -q[k] * f;
	}
	return d;
}

struct hit {
	double		d;
	uint32_t	id;
	int		done;
};

/* Add to a sorted list of at most max; the place, or max. */
static size_t
add(struct hit *v, size_t *n, size_t max, double d, uint32_t id)
{
	size_t	i = *n;

	if (*n == max && d >= v[max - 1].d)
		return max;
	if (*n < max)
		(*n)++;
	else
		i--;
	for (; i > 0 && v[i - 1].d > d; i--)
		v[i] = v[i - 1];
	v[i].d = d;
	v[i].id = id;
	v[i].done = 0;
	return i;
}

static double
recall(const char *name, const struct hnsw_params *p, const float *q,
    size_t n_q, size_t ef)
{
	struct index	 x;
	struct hit	*v, best[TOP];
	unsigned char	*seen;
	size_t		 i, j, k, n, m, at, hits = 0, all = 0;
	uint32_t	 id, count;

	if (load(&x, name, p) == -1)
		return 0;
	v = calloc(ef + 1, sizeof(*v));
	seen = calloc(x.n, 1);
	if (v == NULL || seen == NULL)
		exit(99);
	for (i = 0; i < n_q; i++) {
		const float	*z = q + i * p->dim;

		m = 0;
		for (j = 0; j < x.n; j++)
			if ((x.f.p[j * x.len + 2] & 1) == 0)
				(void)add(best, &m, TOP,
				    dist(&x, z, j, p->space), (uint32_t)j);
		memset(seen, 0, x.n);
		n = 0;
		(void)add(v, &n, ef, dist(&x, z, x.enter, p->space),
		    x.enter);
		seen[x.enter] = 1;
		for (j = 0; j < n;) {
			const unsigned char	*l;

			if (v[j].done) {
				j++;
				continue;
			}
			v[j].done = 1;
			l = x.f.p + v[j].id * x.len;
			count = l[0];
			at = j + 1;
			for (k = 0; k < count; k++) {
				size_t	to;

				id = buf_get_le32(l + 4 + 4 * k);
				if (seen[id])
					continue;
				seen[id] = 1;
				to = add(v, &n, ef, dist(&x, z, id,
				    p->space), id);
				if (to < at)
					at = to;
			}
			j = at;
		}
		for (k = 0; k < m; k++)
			for (j = 0; j < n; j++)
				hits += v[j].id == best[k].id;
		all += m;
	}
	free(v);
	free(seen);
	buf_free(&x.f);
	return (double)hits / (double)all;
}

/* Links from the entry point to the element farthest from it. */
static size_t
farthest(const char *name, const struct hnsw_params *p)
{
	struct index		 x;
	const unsigned char	*l;
	uint32_t		*queue, *deep, count, k, id;
	size_t			 head = 0, tail = 0, rv = 0;

	if (load(&x, name, p) == -1)
		return SIZE_MAX;
	queue = calloc(x.n, sizeof(*queue));
	deep = calloc(x.n, sizeof(*deep));
	if (queue == NULL || deep == NULL)
		exit(99);
	queue[tail++] = x.enter;
	deep[x.enter] = 1;
	while (head < tail) {
		l = x.f.p + queue[head] * x.len;
		rv = deep[queue[head]] - 1;
		count = l[0];
		for (k = 0; k < count; k++) {
			id = buf_get_le32(l + 4 + 4 * (size_t)k);
			if (deep[id] == 0) {
				deep[id] = (uint32_t)rv + 2;
				queue[tail++] = id;
			}
		}
		head++;
	}
	if (tail != x.n)
		rv = SIZE_MAX;
	free(queue);
	free(deep);
	buf_free(&x.f);
	return rv;
}

/*
 * Inner products along one ray: whoever is longest is everybody's nearest,
 * and nobody else would be linked to.
 */
static void
ray(void)
{
	struct hnsw_params	 p = { 2, ITEM_IP, 0, 0, 2, NULL };
	const size_t		 n = 6000;
	float			*v = calloc(n * 2, sizeof(*v));
	size_t			 i, far;

	if (v == NULL)
		exit(99);
	for (i = 0; i < n; i++) {
		v[2 * i] = (float)(i + 1);
		v[2 * i + 1] = -v[2 * i];
	}
	(void)tap_ok(make("ray", &p, v, n) == 0 && proved("ray", &p, n),
	    "inner products along a ray");
	far = farthest("ray", &p);
	(void)tap_ok(far <= 600, "the last is %zu links away", far);
	free(v);
}

/* Thread 0 stands by while another touches what is not there. */
static void
touch(void *arg, unsigned int thread, size_t i)
{
	volatile unsigned char	*p = arg;
	struct timespec		 ts = { 0, 1000000 };

	(void)i;
	if (thread != 0)
		*p = 1;
	(void)nanosleep(&ts, NULL);
}

static void
on_fault(int sig)
{
	(void)sig;
	_exit(74);
}

/* dmerge says what a page means that cannot be had, in whatever thread. */
static void
fault(void)
{
	struct sigaction	 sa;
	struct team		*t;
	char			 path[512];
	void			*p;
	pid_t			 pid;
	int			 fd, st = 0;

	pid = fork();
	if (pid == 0) {
		(void)snprintf(path, sizeof(path), "%s/empty", base);
		fd = open(path, O_RDWR | O_CREAT, 0600);
		p = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		memset(&sa, 0, sizeof(sa));
		sa.sa_handler = on_fault;
		(void)sigaction(SIGBUS, &sa, NULL);
		t = team_new(2);
		if (p == MAP_FAILED || team_size(t) != 2)
			_exit(99);
		team_run(t, 10000, 1, touch, p);
		_exit(1);
	}
	(void)waitpid(pid, &st, 0);
	(void)tap_ok(WIFEXITED(st) && WEXITSTATUS(st) == 74,
	    "a fault in a thread reaches its handler (%x)", (unsigned int)st);
}

static void
kernels(void)
{
	const struct vec_ops	*a = vec_ops(0), *b = vec_ops(1);
	int16_t			 x[2][96];
	float			 y[2][101];
	size_t			 i, n;
	int			 round, good = 1;

	for (round = 0; round < 300; round++) {
		for (i = 0; i < 96; i++) {
			x[0][i] = (int16_t)(uniform() * 3000 - 1500);
			x[1][i] = (int16_t)(uniform() * 3000 - 1500);
		}
		for (i = 0; i < 101; i++) {
			y[0][i] = gauss() * (round % 7 == 0 ? 1e18F : 1);
			y[1][i] = gauss();
		}
		n = 32 * (size_t)(1 + round % 3);
		good &= a->l2_i16(x[0], x[1], n) == b->l2_i16(x[0], x[1], n);
		good &= a->dot_i16(x[0], x[1], n) ==
		    b->dot_i16(x[0], x[1], n);
		n = (size_t)(1 + round % 101);
		memset(x, 0, sizeof(x));
		a->code(y[1], 1000, x[0], n > 96 ? 96 : n);
		b->code(y[1], 1000, x[1], n > 96 ? 96 : n);
		good &= memcmp(x[0], x[1], sizeof(x[0])) == 0;
		good &= a->l2_f32(y[0], y[1], n) == b->l2_f32(y[0], y[1], n);
		good &= a->dot_f32(y[0], y[1], n) ==
		    b->dot_f32(y[0], y[1], n);
	}
	(void)tap_ok(good, "%s and plain kernels agree to the bit", a->name);
}

static void
threads(enum item_space space)
{
	struct hnsw_params	 p = { 48, space, 0, 0, 1, NULL };
	const size_t		 n = 4000, q = 100;
	float			*v = clusters(n + q, 48, 80, 0.6);
	char			 a[32], b[32];
	double			 r;

	(void)snprintf(a, sizeof(a), "t1-%d", (int)space);
	(void)snprintf(b, sizeof(b), "t4-%d", (int)space);
	(void)tap_ok(make(a, &p, v, n) == 0, "%s: built",
	    item_space_name(space));
	p.threads = 4;
	(void)tap_ok(make(b, &p, v, n) == 0 && same(a, b),
	    "the same bytes with four threads");
	(void)tap_ok(proved(a, &p, n), "its files hold together");
	r = recall(a, &p, v + n * 48, q, 100);
	(void)tap_ok(r >= 0.97, "recall %.4f", r);
	free(v);
}

static void
grow(void)
{
	struct hnsw_params	 p = { 32, ITEM_COSINE, 0, 0, 2, NULL };
	const size_t		 n = 3000, more = 700, q = 100;
	float			*v = clusters(n + more + q, 32, 60, 0.6);
	struct hnsw_build	*b;
	struct err		 e = { 0, "" };
	uint64_t		 live, i;
	double			 r;
	int			 good;

	(void)make("grow", &p, v, n);
	b = begin("grow", &p, 0);
	good = b != NULL;
	for (i = 1; good && i <= 500; i++)
		good = hnsw_build_delete(b, 3 * i, &e) == 0 &&
		    hnsw_build_delete(b, 3 * i, &e) == 0;
	good = good && put(b, v + n * 32, more, 32) == 0;
	good = good && hnsw_build_delete(b, n + 5, &e) == 0;
	good = good && hnsw_build_count(b, &live) == n + more;
	(void)tap_ok(good && live == n + more - 501,
	    "an index grows, and loses elements");
	(void)tap_ok(good && finish(b) == 0 && proved("grow", &p, n + more),
	    "its files hold together");
	r = recall("grow", &p, v + (n + more) * 32, q, 150);
	(void)tap_ok(r >= 0.95, "recall %.4f", r);
	b = begin("grow", &p, 0);
	good = b != NULL && hnsw_build_count(b, &live) == n + more &&
	    live == n + more - 501;
	for (i = 1; good && i <= n + more; i++)
		good = hnsw_build_delete(b, i, &e) == 0;
	good = good && put(b, v, 50, 32) == 0 && finish(b) == 0;
	(void)tap_ok(good && proved("grow", &p, n + more + 50),
	    "every element goes, and others come");
	r = recall("grow", &p, v, 50, 5000);
	(void)tap_ok(r >= 0.999, "all of those are reached: %.4f", r);
	free(v);
}

/* How many elements link to element 0 on level 0. */
static size_t
liked(const char *name, const struct hnsw_params *p)
{
	struct index	x;
	uint64_t	i, k;
	size_t		n = 0;

	if (load(&x, name, p) == -1)
		return SIZE_MAX;
	for (i = 0; i < x.n; i++)
		for (k = 0; k < x.f.p[i * x.len]; k++)
			n += buf_get_le32(x.f.p + i * x.len + 4 + 4 * k) == 0;
	buf_free(&x.f);
	return n;
}

static void
zero(void)
{
	struct hnsw_params	 p = { 48, ITEM_COSINE, 0, 0, 1, NULL };
	float			*v = clusters(200, 48, 200, 0.1);
	struct hnsw_build	*b;
	int			 good;

	memset(v, 0, 48 * sizeof(*v));
	good = make("zero", &p, v, 200) == 0 && proved("zero", &p, 200);
	(void)tap_ok(good && liked("zero", &p) < 100, "a zero vector in a "
	    "cosine space is not the nearest of all: %zu of 200",
	    liked("zero", &p));
	b = begin("zero", &p, 0);
	good = b != NULL && put(b, v + 48, 50, 48) == 0 && finish(b) == 0 &&
	    proved("zero", &p, 250);
	(void)tap_ok(good && liked("zero", &p) < 100,
	    "nor when others come: %zu of 250", liked("zero", &p));
	free(v);
}

static void
odd(void)
{
	struct hnsw_params	p = { 3, ITEM_L2, 5, 40, 1, NULL };
	float			v[300] = { 0 };
	struct hnsw_build	*b;
	struct err		e = { 0, "" };
	float			back[3], in[3] = { 3, 4, 0 };
	uint64_t		label = 0;
	size_t			i;

	(void)tap_ok(make("one", &p, v, 1) == 0 && proved("one", &p, 1),
	    "one element");
	(void)tap_ok(make("two", &p, v, 2) == 0 && proved("two", &p, 2),
	    "two of the same");
	(void)tap_ok(make("same", &p, v, 100) == 0 &&
	    proved("same", &p, 100), "a hundred of the same");
	for (i = 0; i < 300; i++)
		v[i] = gauss();
	v[0] = 1e30F;
	(void)tap_ok(make("long", &p, v, 100) == 0 &&
	    proved("long", &p, 100) && recall("long", &p, v + 3, 50, 100) >
	    0.99, "one very long vector among others");
	p.space = ITEM_IP;
	v[0] = 1e18F;
	(void)tap_ok(make("iplong", &p, v, 100) == 0 &&
	    proved("iplong", &p, 100), "the same for inner products");
	p.space = ITEM_COSINE;
	v[0] = v[1] = v[2] = 0;

	v[3] = v[4] = v[5] = 1e-30F;
	v[6] = v[7] = v[8] = 1e30F;
	(void)tap_ok(make("cos", &p, v, 100) == 0 && proved("cos", &p, 100),
	    "zero, tiny and huge vectors in a cosine space");
	b = begin("back", &p, 1);
	(void)tap_ok(b != NULL && hnsw_build_put(b, in, back, &label, &e) ==
	    0 && label == 1 && fabsf(back[0] - 3) < 1e-6F &&
	    fabsf(back[1] - 4) < 1e-6F && back[2] == 0,
	    "what a reader gets is told");
	(void)tap_ok(hnsw_build_delete(b, 0, &e) == -1 && e.code ==
	    MSG_SOFTWARE && hnsw_build_delete(b, 2, &e) == -1,
	    "there are no labels but those that were given");
	hnsw_build_free(b);
	p.space = ITEM_L2;
	b = begin("backl2", &p, 1);
	(void)tap_ok(b != NULL && hnsw_build_put(b, in, back, &label, &e) ==
	    0 && memcmp(in, back, 12) == 0, "which is itself but for cosine");
	hnsw_build_free(b);
	b = begin("none", &p, 1);
	(void)tap_ok(finish(b) == 0 && proved("none", &p, 0),
	    "an index of nothing");
	p.m = 1;
	(void)tap_ok(begin("m1", &p, 1) == NULL, "max_neighbors 1 is refused");
}

/* A new index of n vectors, or an old one that gets more: its error's code. */
static int
attempt(const char *name, const struct hnsw_params *p, int fresh,
    const float *v, size_t n)
{
	struct hnsw_build	*b;
	struct err		 e = { 0, "" };
	uint64_t		 label;
	size_t			 i;
	int			 fd = open(base, O_RDONLY | O_DIRECTORY), r = 0;

	(void)mkdirat(fd, name, 0777);
	b = hnsw_build_new(fd, name, name, p, fresh, &e);
	(void)close(fd);
	if (b == NULL)
		return e.code;
	for (i = 0; r == 0 && i < n; i++)
		r = hnsw_build_put(b, v + i * p->dim, NULL, &label, &e);
	if (r == 0 && !fresh)
		r = hnsw_build_delete(b, label, &e);
	if (r == 0)
		r = hnsw_build_finish(b, &e);
	else
		hnsw_build_free(b);
	return r == 0 ? 0 : e.code != 0 ? e.code : -1;
}

static void
forget(const char *name)
{
	struct err	e = { 0, "" };
	char		path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", base, name);
	(void)io_rmtree(AT_FDCWD, path, &e);
}

/* A disk that is full after so many bytes of a file, whichever that is. */
static void
full(void)
{
	struct hnsw_params	 p = { 700, ITEM_COSINE, 0, 0, 1, NULL };
	const size_t		 n = 150;
	float			*v = clusters(2 * n, p.dim, 9, 0.5);
	struct rlimit		 was, now;
	rlim_t			 max;
	int			 code, fd, wrong = 0, failed = 0, before;

	(void)make("roomy", &p, v, n);
	before = fd = open("/dev/null", O_RDONLY);
	(void)close(fd);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)getrlimit(RLIMIT_FSIZE, &was);
	for (max = 0, code = -1; code != 0 && max < 1 << 20; max += max < 800 ?
	    50 : 12000) {
		forget("tight");
		now = was;
		now.rlim_cur = max;
		(void)setrlimit(RLIMIT_FSIZE, &now);
		code = attempt("tight", &p, 1, v, n);
		(void)setrlimit(RLIMIT_FSIZE, &was);
		failed += code != 0;
		wrong += code != 0 && code != MSG_IOERR;
	}
	fd = open("/dev/null", O_RDONLY);
	(void)close(fd);
	(void)tap_ok(code == 0 && wrong == 0 && failed > 20 && fd == before &&
	    same("tight", "roomy"), "room for %d sizes of files too small: "
	    "an error each time, no descriptor kept, then the same", failed);
	now = was;
	now.rlim_cur = 300000;
	(void)setrlimit(RLIMIT_FSIZE, &now);
	code = attempt("tight", &p, 0, v + n * p.dim, n);
	(void)setrlimit(RLIMIT_FSIZE, &was);
	(void)tap_ok(code == MSG_IOERR, "no room to grow: %d", code);
	free(v);
}

/* Descriptors that run out say nothing of the files. */
static void
descriptors(void)
{
	struct hnsw_params	 p = { 8, ITEM_COSINE, 0, 0, 1, NULL };
	float			*v = clusters(20, 8, 3, 0.5);
	struct hnsw_build	*b;
	struct err		 e;
	struct rlimit		 was, now;
	int			 fd, dir, wrong = 0, failed = 0, fresh;

	(void)make("few", &p, v, 20);
	dir = open(base, O_RDONLY | O_DIRECTORY);
	(void)getrlimit(RLIMIT_NOFILE, &was);
	for (fresh = 0; fresh < 2; fresh++) {
		b = NULL;
		for (fd = dir + 1; b == NULL && fd < dir + 12; fd++) {
			memset(&e, 0, sizeof(e));
			forget("new");
			(void)mkdirat(dir, "new", 0700);
			now = was;
			now.rlim_cur = (rlim_t)fd;
			(void)setrlimit(RLIMIT_NOFILE, &now);
			b = hnsw_build_new(dir, fresh ? "new" : "few", "x",
			    &p, fresh, &e);
			(void)setrlimit(RLIMIT_NOFILE, &was);
			failed += b == NULL;
			wrong += b == NULL && e.code != MSG_TEMPFAIL;
		}
		wrong += b == NULL;
		hnsw_build_free(b);
	}
	(void)close(dir);
	(void)tap_ok(wrong == 0 && failed >= 5,
	    "few descriptors: try again later (%d times)", failed);
	free(v);
}

/* What is there and is no index of ours is not built upon. */
static void
strange(void)
{
	static const struct {
		const char	*file;
		off_t		 at;
		const char	*bytes;	/* NULL: the file ends there */
		const char	*what;
	} d[] = {
		{ HNSW_LEVEL0_FILE, 4 + 4 * 32 + 4 * 8, "\7", "a label of "
		    "another" },
		{ HNSW_LINKS_FILE, 6, NULL, "links cut off" },
		{ HNSW_LINKS_FILE, 0, "\3", "links of no whole number" },
		{ HNSW_HEADER_FILE, 68, "\1", "max_m of another" },
		{ HNSW_LENGTH_FILE, 8, NULL, "lengths cut off" },
		{ HNSW_LEVEL0_FILE, 100, NULL, "elements cut off" },
		{ HNSW_HEADER_FILE, 0, NULL, "no header" }
	};
	struct hnsw_params	p = { 8, ITEM_COSINE, 0, 0, 1, NULL };
	float			*v = clusters(20, 8, 3, 0.5);
	char			path[512];
	size_t			i;
	int			fd, code;

	for (i = 0; i < sizeof(d) / sizeof(d[0]); i++) {
		forget("odd");
		(void)make("odd", &p, v, 20);
		(void)snprintf(path, sizeof(path), "%s/odd/%s", base,
		    d[i].file);
		fd = open(path, O_WRONLY);
		if (d[i].bytes == NULL ? ftruncate(fd, d[i].at) == -1 :
		    pwrite(fd, d[i].bytes, 1, d[i].at) != 1)
			exit(99);
		(void)close(fd);
		code = attempt("odd", &p, 0, v, 1);
		(void)tap_ok(code == MSG_DATAERR, "%s: refused (%d)",
		    d[i].what, code);
	}
	(void)tap_ok(attempt("odd", &p, 1, v, 1) != 0,
	    "what is there is not written over");
	free(v);
}

int
main(void)
{
	struct err	e = { 0, "" };
	const char	*tmp = getenv("TMPDIR");
	char		hex[17];

	if (io_random_hex(hex, 8, &e) == -1)
		return 99;
	(void)snprintf(base, sizeof(base), "%s/intact-hnsw.%s",
	    tmp != NULL ? tmp : "/tmp", hex);
	if (mkdir(base, 0700) == -1)
		return 99;
	tap_plan(45);
	kernels();
	threads(ITEM_L2);
	threads(ITEM_COSINE);
	threads(ITEM_IP);
	grow();
	zero();
	odd();
	ray();
	fault();
	full();
	descriptors();
	strange();
	(void)io_rmtree(AT_FDCWD, base, &e);
	return tap_done();
}
