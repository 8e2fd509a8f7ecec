# fanout.mk: as fanout.sh, by make: each chunk is a target, a group of parts
# one that depends on them, and -j and -k mean what they always mean:
#	make -f fanout.mk -j4 -k TARGET=lines INPUTS='deltas "more deltas"'
# INPUTS is written as for the shell.  When something fails nothing is
# published, and stderr and WORK/failed say what.  Mend it and make it again:
# a chunk that is done says so itself (dpublish holds), as no time of a file
# could.  After success WORK, which is no other's, is removed.  A second make at
# once in one WORK is refused.
# SPDX-License-Identifier: ISC
TARGET = lines
INPUTS = deltas
WORK = fanout
PARTS = $(WORK)/parts
export TARGET

ME := $(lastword $(MAKEFILE_LIST))
HERE := $(dir $(ME))
CHUNKS = $(sort $(shell cat $(WORK)/level.* 2>/dev/null))
SHELL = /bin/sh
.DELETE_ON_ERROR:
.SECONDEXPANSION:

# Another's plan is not to be taken for ours: the lock ends with all who work
# for it.  exec: a signal reaches what runs, and not a shell before it.
publish:
	@mkdir -p $(WORK)
	@exec 9>>$(WORK:%/=%).lock; flock -w $${LOCK_WAIT:-10} 9 || { \
	    echo "fanout.mk: $(WORK): another run is at work there" >&2; \
	    exit 75; }; exec $(MAKE) -f $(ME) --no-print-directory locked

locked: $(WORK)/plan
	@[ ! -s $< ] || $(HERE)chunks.sh $(WORK) $(PARTS)
	-@[ ! -s $< ] || exec $(MAKE) -f $(ME) -s chunks 2>$(WORK)/log
	@[ ! -s $< ] || exec $(HERE)reduce.sh $(WORK) "$$TARGET"
	@rm -rf $(WORK)

$(WORK)/plan: FORCE
	@mkdir -p $(WORK) && rm -f $(WORK)/failed
	@exec dfetch -l -B "$$TARGET" $(INPUTS) >$@

chunks: $(CHUNKS)
$(CHUNKS): $$(notdir $$(shell cat $(WORK)/$$@.parts 2>/dev/null))
	exec $(HERE)chunk.sh $(WORK)/$@.plan $(PARTS)

FORCE:
.PHONY: publish locked chunks FORCE $(CHUNKS)
