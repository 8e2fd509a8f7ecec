# reprocess.mk: make(1) as the scheduler: one target per delta, so that only
# what changed or failed is done again, and -j and -k mean what they always
# mean:
#	make -f reprocess.mk -j4 -k DELTAS=deltas TARGET=lines
# Each delta becomes an intermediate in WORK; all of them together are merged
# and published.  A delta is remade when it is newer than what it became.
# SPDX-License-Identifier: ISC
DELTAS = deltas
TARGET = lines
WORK = work

IN = $(patsubst %/chroma.sqlite3,%,$(wildcard $(DELTAS)/*/chroma.sqlite3))
DIRS = $(IN:$(DELTAS)/%=$(WORK)/%.d)
OUT = $(DIRS:%=%/manifest.json)

publish: $(OUT)
	dfetch -l $(DELTAS) >$(WORK)/plan
	drun 'dfetch -B $(TARGET) $(DIRS) | dcheck | dmerge -p $(WORK)/plan | dpublish $(TARGET)'

# What a delta became is never written over: it is made anew or not at all.
# The time of the intermediate is that of this run, so that make compares.
$(WORK)/%.d/manifest.json: $(DELTAS)/%/chroma.sqlite3
	@mkdir -p $(WORK)
	rm -rf $(@D)
	drun 'dfetch $(<D) | dcheck | dmerge -o $(@D)'
	touch $@

clean:
	rm -rf $(WORK)

.PHONY: publish clean
