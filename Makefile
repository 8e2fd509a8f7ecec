# intact: plain make (GNU make is the judge), no configure, no generator.
CC = cc
CFLAGS = -O2 -g
CPPFLAGS =
LDFLAGS =
SAN =
PKG_CONFIG = pkg-config
PREFIX = /usr/local
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
DESTDIR =
VERSION = 0.1.0
B = build

STD = -std=c11 -pedantic -D_POSIX_C_SOURCE=200809L -Icommon
WARN = -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wformat=2 \
	-Wswitch-enum -Wimplicit-fallthrough -fno-common
# CI adds -Werror here
WERROR =
# what each library needs; backticks, so that they run in recipes only
MSGPACK_C = `$(PKG_CONFIG) --cflags msgpack-c 2>/dev/null || $(PKG_CONFIG) --cflags msgpack`
MSGPACK_L = `$(PKG_CONFIG) --libs msgpack-c 2>/dev/null || $(PKG_CONFIG) --libs msgpack`
CRYPTO_L = `$(PKG_CONFIG) --libs libcrypto`
SQLITE_L = `$(PKG_CONFIG) --libs sqlite3`
# libarchive and libcurl are opened when they are needed (common/late.h);
# a unit test writes archives
LATE_L = -ldl
ARCHIVE_L = `$(PKG_CONFIG) --libs libarchive`
COMPILE = $(CC) $(STD) -pthread $(WARN) $(WERROR) $(SAN) $(CPPFLAGS) $(CFLAGS)
LINK = $(CC) -pthread $(SAN) $(CFLAGS) $(LDFLAGS)

# make of a make: a compiler a processor, where nobody said how many
PAR = `case " $$MAKEFLAGS" in *' -j'*|*--jobserver*) ;; *) \
	echo -j$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) ;; esac`

PROGS = dfetch dcheck dmerge dpublish dckpt drun

# from the ground up: a module includes only modules before it
# (tests/lint.t checks this order)
MODS = msg mem num buf io hash path json rec_scan rec rec_kind stream stage \
	filter spare sandbox_calls sandbox \
	db late gz arc_fault arc_plain arc arc_late \
	net_answer net_op net net_late \
	item ledger pickle hnsw team vec hnsw_graph hnsw_link hnsw_build \
	manifest hide plan cover chroma chroma_walk \
	chroma_ours chroma_meta chroma_read chroma_judge_check \
	chroma_schema_check chroma_rows_check chroma_index_check \
	chroma_check chroma_conf \
	chroma_schema chroma_rows chroma_write batch_result batch batch_line \
	batch_join batch_check dstore \
	dstore_check store check spill breaker ckpt ckpt_step ckpt_fs \
	ckpt_owner ckpt_key ckpt_db ckpt_open ckpt_unit ckpt_ask ckpt_run \
	ckpt_breaker aimd retry ticket \
	xml sign cred s3_endpoint s3 s3_calls s3_list s3_probe remote \
	part xfer_job xfer_take xfer_ask xfer \
	s3_pool s3_ahead s3_send_job s3_send_big s3_send s3_prove \
	s3_remove \
	dav dav_calls dav_list dav_send dav_ahead \
	target target_commits target_ahead target_owner target_claim \
	target_upload target_keep target_local target_object target_s3 \
	target_dav_probe target_dav \
	journal plain plain_local plain_s3

OBJS = $(MODS:%=$(B)/common/%.o)
LIB = $(B)/libcommon.a
BINS = $(PROGS:%=$(B)/bin/%)
UNITS = $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*.c))

all: $(BINS)

$(B)/common/%.o: common/%.c common/*.h
	@mkdir -p $(@D)
	$(COMPILE) $(MSGPACK_C) -c -o $@ $<

$(B)/bin/%.o: bin/%.c common/*.h $(wildcard bin/*.h)
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(LIB): $(OBJS)
	rm -f $@
	$(AR) rcs $@ $(OBJS)

# The plan of the house: which program needs which library.
DFETCH = dfetch dfetch_plan dfetch_base dfetch_tell dfetch_progress \
	dfetch_src dfetch_files dfetch_known dfetch_local dfetch_s3 \
	dfetch_s3_look dfetch_s3_tally dfetch_http dfetch_batch \
	dfetch_batch_api dfetch_batch_read dfetch_remote dfetch_work
$(B)/bin/dfetch: $(DFETCH:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DFETCH:%=$(B)/bin/%.o) $(LIB) $(LATE_L) \
	    $(MSGPACK_L) $(SQLITE_L) $(CRYPTO_L)
DCHECK = dcheck dcheck_pass dcheck_known dcheck_work dcheck_worker \
	dcheck_answer dcheck_cache dcheck_verdicts
$(B)/bin/dcheck: $(DCHECK:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DCHECK:%=$(B)/bin/%.o) $(LIB) $(LATE_L) \
	    $(MSGPACK_L) $(SQLITE_L) $(CRYPTO_L) -lm
DMERGE = dmerge dmerge_build dmerge_join dmerge_winners dmerge_place \
	dmerge_prove
$(B)/bin/dmerge: $(DMERGE:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DMERGE:%=$(B)/bin/%.o) $(LIB) $(MSGPACK_L) \
	    $(SQLITE_L) $(CRYPTO_L) -lm
DPUBLISH = dpublish dpublish_opts dpublish_prove dpublish_commit \
	dpublish_ticket dpublish_verbs dpublish_artifact dpublish_object \
	dpublish_files dpublish_inplace dpublish_replay dpublish_gc dpublish_pin \
	dpublish_quarantine dpublish_entry dpublish_refusal dpublish_move \
	dpublish_holds dpublish_rebuild dpublish_place
$(B)/bin/dpublish: $(DPUBLISH:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DPUBLISH:%=$(B)/bin/%.o) $(LIB) $(LATE_L) \
	    $(MSGPACK_L) $(SQLITE_L) $(CRYPTO_L) -lm
DCKPT = dckpt dckpt_show dckpt_change dckpt_again dckpt_stats dckpt_export \
	dckpt_verify dckpt_breaker dckpt_stage
$(B)/bin/dckpt: $(DCKPT:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DCKPT:%=$(B)/bin/%.o) $(LIB) $(MSGPACK_L) $(LATE_L) \
	    $(SQLITE_L) $(CRYPTO_L)
DRUN = drun drun_split drun_say drun_signal drun_group drun_stages \
	drun_commit drun_lock drun_tries drun_summary drun_note
$(B)/bin/drun: $(DRUN:%=$(B)/bin/%.o) $(LIB)
	$(LINK) -o $@ $(DRUN:%=$(B)/bin/%.o) $(LIB) $(MSGPACK_L) \
	    $(SQLITE_L) $(CRYPTO_L)

$(B)/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) $(MSGPACK_C) -o $@ $< $(LIB) $(LDFLAGS) $(ARCHIVE_L) \
	    $(LATE_L) $(MSGPACK_L) $(SQLITE_L) $(CRYPTO_L) -lm

units: $(UNITS)

# inputs for tests and benches, of any size
$(B)/gen/%: tests/gen/%.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) \
	    -DGENDELTA_LIKE='"$(CURDIR)/tests/data/samples/clean_small/db"' \
	    -o $@ $^ $(LDFLAGS) $(SQLITE_L)

# what dpublish would be handed, for its tests
$(B)/gen/genrun: tests/gen/genrun.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LIB) $(LDFLAGS) $(MSGPACK_L) $(LATE_L) \
	    $(SQLITE_L) $(CRYPTO_L) -lm

# the calls of the S3 client, from a shell
$(B)/gen/s3do: tests/gen/s3do.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LIB) $(LDFLAGS) $(LATE_L) $(SQLITE_L) \
	    $(CRYPTO_L)

# the same of uploads of many files
$(B)/gen/s3tree: tests/gen/s3tree.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LIB) $(LDFLAGS) $(LATE_L) $(SQLITE_L) \
	    $(CRYPTO_L)

# and those of a WebDAV target
$(B)/gen/davdo: tests/gen/davdo.c $(LIB)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $< $(LIB) $(LDFLAGS) $(LATE_L) $(SQLITE_L) \
	    $(CRYPTO_L)

# the parsers of strangers' bytes, run on files or by libFuzzer
FUZZSRC = $(wildcard tests/fuzz/*.c)
FUZZBUILD = $(COMPILE) -o $@ $(FUZZSRC) $(LIB) $(LDFLAGS) $(LATE_L) \
	$(MSGPACK_L) $(SQLITE_L) $(CRYPTO_L) -lm
$(B)/gen/fuzz: $(FUZZSRC) tests/fuzz/fuzz.h $(LIB)
	@mkdir -p $(@D)
	$(FUZZBUILD)
$(B)/fuzzer: $(FUZZSRC) tests/fuzz/fuzz.h $(LIB)
	$(FUZZBUILD) -DFUZZ_LIB -fsanitize=fuzzer

# preloads, without sanitizers: they are loaded before theirs
$(B)/gen/%.so: tests/crash/%.c
	@mkdir -p $(@D)
	$(CC) $(STD) -pthread $(WARN) $(WERROR) $(CPPFLAGS) $(CFLAGS) -fPIC \
	    -shared -o $@ $< $(LDFLAGS) -ldl $(SO_LIBS)
# it hands on to the library, though it names nothing of it
$(B)/gen/nthcurl.so: SO_LIBS = -Wl,--no-as-needed `pkg-config --libs libcurl`

PRELOADS = $(patsubst tests/crash/%.c,$(B)/gen/%.so,$(wildcard tests/crash/*.c))
gens: $(B)/gen/gendelta $(B)/gen/genrun $(B)/gen/s3do $(B)/gen/s3tree \
	$(B)/gen/davdo $(B)/gen/spent $(B)/gen/fuzz \
	$(PRELOADS) $(B)/gen/without

# What is missing is installed first (or the line that would is printed).
# One result line: N passed, N failed.  T= names tests, else all are run.
T =
check:
	@contrib/deps.sh build test
	@$(MAKE) $(PAR) all units gens
	@tests/run.pl $(B) $(T)

# Publishers, readers and gc at work at once, here and on a bad network, for
# SOAK (10m; s, m, h), then CRASH states of disks after power cuts.
soak:
	@contrib/deps.sh build test s3
	@$(MAKE) $(PAR) all units gens
	@SOAK=$${SOAK:-10m} LEAST=3 CRASH=$${CRASH:-10000} LIMIT=86400 \
	    tests/run.pl $(B) tests/soak.t tests/crash.t

# What check tries samples of, whole: each call fails, each byte of what is
# small is flipped, publishers, gc and readers take their steps in each order,
# each fault comes at each request.  EVERY= names tests; hours.
EVERY = nth flip files hostile unknown ops interleave
every:
	@contrib/deps.sh build test s3
	@$(MAKE) $(PAR) all units gens
	@FULL=1 NTH=0 LIMIT=864000 tests/run.pl $(B) $(EVERY:%=tests/%.t)

# Which lines the tests run, per file, in a build of its own by clang, whose
# counters lie in mapped files: what SIGKILL ends counts, and so do children
# that leave by _exit and workers behind the sandbox, with no line of ours
# changed (gcov writes at exit, if it may).  COVER= names tests, OF= the files
# of the report; RUN= is empty for another report of what was counted already
# (UNRUN=-u: of the lines that did not run).
COV = $(abspath $(B))/cov
COV_SAN = -fprofile-instr-generate=$(COV)/raw/%m%c.profraw \
	-fcoverage-mapping -mllvm -runtime-counter-relocation
COVER = $(wildcard tests/unit/*.c) $(filter-out tests/build.t tests/lint.t, \
	$(wildcard tests/*.t))
OF =
UNRUN =
RUN = 1
coverage:
	@contrib/deps.sh build test coverage
	@$(MAKE) $(PAR) B=$(COV) CC=clang CFLAGS='-O1 -g' SAN='$(COV_SAN)' \
	    all units gens
ifneq ($(RUN),)
	@rm -rf $(COV)/raw
	@for p in $(PROGS); do $(COV)/bin/$$p -V >/dev/null; done
	@chmod -R a+rwX $(COV)/raw # for the tests that use su
	-@KILLS=$${KILLS:-10} LIMIT=$${LIMIT:-3600} tests/run.pl $(COV) $(COVER)
endif
	@tests/coverage/report.pl $(UNRUN) $(COV) $(OF)

# What cppcheck does not see; the script says what is not asked for, and why.
analyze:
	@contrib/deps.sh build analyze
	@tests/coverage/analyze.sh

# Random histories against real ChromaDB servers, brought by npm into $(B);
# what cannot be had is skipped, and said.  ROUNDS, SEED, VERSIONS widen it.
check-chroma:
	@contrib/deps.sh build test
	@$(MAKE) $(PAR) all gens
	@B=$(B) tests/real/check.sh

# contrib/slurm on real clusters, which are brought first; also in check,
# where it is skipped without them
check-cluster:
	@contrib/deps.sh build test cluster
	@$(MAKE) $(PAR) all gens
	@tests/run.pl $(B) tests/cluster.t

# FUZZ= names targets, else all; each runs FUZZ_S seconds.
FUZZ =
FUZZ_S = 60
fuzz:
	@contrib/deps.sh build test ci
	@$(MAKE) $(PAR) CC=clang B=$(B)/fuzz CFLAGS='-O1 -g' \
	    SAN='-fsanitize=fuzzer-no-link,address,undefined' \
	    $(B)/fuzz/fuzzer
	@B=$(B)/fuzz FUZZ_S=$(FUZZ_S) tests/fuzz/run.sh $(FUZZ)

demo:
	@contrib/deps.sh build test
	@$(MAKE) $(PAR) all
	@BIN=$(B)/bin contrib/demo.sh

# Ratios against peers in one run; nothing here passes or fails.
bench:
	@contrib/deps.sh build test bench s3 dav
	@$(MAKE) $(PAR) all gens
	BIN=$(B)/bin tests/bench/start.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/check.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/merge.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/fan.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/unchanged.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/idle.sh
	B=$(B) BIN=$(B)/bin GEN=$(B)/gen tests/bench/chroma.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/fetch.sh
	BIN=$(B)/bin GEN=$(B)/gen tests/bench/remote.sh

CSRC = $(wildcard common/*.c bin/*.c tests/*/*.c)
SHSRC = $(wildcard contrib/*.sh contrib/*/*.sh examples/*.sh tests/*.sh \
	tests/*.t tests/*/*.sh)
PAGES = $(wildcard man/*)
# bsearch keys have only the member that is compared; POSIX NULL is a pointer
CPPCHECK_NOT = --suppress=missingIncludeSystem --suppress=varFuncNullUB \
	--suppress=normalCheckLevelMaxBranches \
	--suppress='nullPointerOutOfMemory:tests/unit/*' \
	--suppress='nullPointerArithmeticOutOfMemory:tests/unit/*' \
	--suppress=uninitvar:common/chroma_meta.c \
	--suppress=uninitvar:common/chroma_walk.c \
	--suppress=uninitvar:common/manifest.c
lint:
	@contrib/deps.sh build lint
	@$(MAKE) $(PAR) all
	cppcheck -q -j2 --std=c11 --enable=warning,portability,performance \
	    --inline-suppr $(CPPCHECK_NOT) --error-exitcode=1 \
	    -D__GNUC__ -Icommon $(CSRC)
	mandoc -T lint -W warning $(PAGES)
	shellcheck -S warning -x -P SCRIPTDIR -e SC2034,SC3045,SC2045,SC2010,SC1007,SC2046,SC2174 \
	    -s sh $(SHSRC)
	shellcheck -S warning .ci/run
	tests/run.pl $(B) tests/lint.t

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 \
	    $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7
	install -m 755 $(BINS) $(DESTDIR)$(BINDIR)
	install -m 644 man/*.1 $(DESTDIR)$(MANDIR)/man1
	install -m 644 man/*.5 $(DESTDIR)$(MANDIR)/man5
	install -m 644 man/*.7 $(DESTDIR)$(MANDIR)/man7

uninstall:
	cd $(DESTDIR)$(BINDIR) && rm -f $(PROGS)
	cd $(DESTDIR)$(MANDIR) && \
	    rm -f $(PAGES:man/%=man1/%) $(PAGES:man/%=man5/%) \
	    $(PAGES:man/%=man7/%)

# The same bytes for the same commit; outside of git, of the same files.
DIST = intact-$(VERSION)
dist:
	if [ -e .git ] && command -v git >/dev/null; then \
		git archive --format=tar --prefix=$(DIST)/ HEAD; \
	else \
		tar -cf - --sort=name --mtime=@0 --owner=0 --group=0 \
		    --numeric-owner --exclude=./$(B) --exclude='./$(DIST)*' \
		    --transform='s,^[.],$(DIST),' .; \
	fi >$(DIST).tar
	gzip -nf9 $(DIST).tar

clean:
	rm -rf $(B)

# "make -j clean check": first the one, then the other
ifneq ($(filter clean,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

.PHONY: all units gens check coverage analyze check-chroma check-cluster \
	soak every demo lint install uninstall dist clean bench fuzz
