# reprocess.mk: make(1) as the scheduler: one target per input, so that only
# what is new, changed or failed is done again, and -j and -k mean what they
# always mean:
#	make -f reprocess.mk -j4 -k DELTAS=deltas TARGET=lines
# An input is whatever lies in DELTAS: a delta's directory, an archive, a
# file of batch results, or NAME.plan, whose lines say where it is to be
# fetched from (s3://..., openai-batch:ID).  Names are without blanks.
#
# Each input becomes an intermediate in WORK; all of them together are merged
# and published.  What fails goes by its class:
#	75, 73		it passes by itself: again at once (RETRY times), and
#			again with every make, CAP times in all
#	76, signals	nobody knows: again with every make, CAP times in all
#	65		refused: it would be again
#	the rest	the call or the machine is at fault, not the input:
#			make fails, and nothing is counted
# While an input is to be tried again nothing is published.  One that was
# refused, or has had its CAP, is set aside in QUARANTINE, with what was said
# of it, and the others are published; QUARANTINE/requeue lists what has to
# be made or fetched again.  As soon as that lies in DELTAS, under the same
# name, the next make takes it, and the list is shorter; "make again" puts
# the plans of the list back, so that what they name is fetched once more.
# Nothing is deleted.
# One make at a time: flock work.lock make -f reprocess.mk ...
# SPDX-License-Identifier: ISC
DELTAS = deltas
TARGET = lines
WORK = work
QUARANTINE = quarantine
CAP = 3
RETRY = 2

NAMES = $(notdir $(wildcard $(DELTAS)/*))
DONE = $(NAMES:%=$(WORK)/%.done)

SHELL = /bin/sh
.ONESHELL:
.SHELLFLAGS = -euc

publish: $(DONE)
	@: >$(WORK)/plan.new
	: >$(WORK)/parts.new
	for n in $(NAMES); do
		# what was set aside meanwhile has none
		[ -e "$(WORK)/$$n.done" ] || continue
		cat "$(WORK)/$$n.plan" >>$(WORK)/plan.new
		echo "$(WORK)/$$n.d" >>$(WORK)/parts.new
	done
	mv $(WORK)/plan.new $(WORK)/plan
	mv $(WORK)/parts.new $(WORK)/parts
	$(requeue)
	[ -s $(WORK)/parts ] || { echo 'reprocess: nothing to publish'; exit 0; }
	drun --retry $(RETRY) 'dfetch -B $(TARGET) -f $(WORK)/parts |
	    dcheck | dmerge -p $(WORK)/plan | dpublish $(TARGET)' </dev/null

# $@ is the mark that $(WORK)/$*.d and .plan are there and good: it is made
# last and removed first.
define one
	@name='$*' w='$(WORK)/$*' status=0
	mkdir -p $(WORK) $(QUARANTINE)
	rm -f "$@"
	rm -rf "$$w.d" "$$w.plan" "$$w.err"
	case $$name in
	*.plan)	cp "$(DELTAS)/$$name" "$$w.plan" ;;
	*)	dfetch -l "$(DELTAS)/$$name" >"$$w.plan" 2>"$$w.err" ||
		    status=$$? ;;
	esac
	if [ $$status = 0 ]; then
		W=$$w drun --retry $(RETRY) 'dfetch -f "$$W.plan" | dcheck |
		    dmerge -p "$$W.plan" -o "$$W.d"' \
		    </dev/null >/dev/null 2>"$$w.err" || status=$$?
	fi
	cat "$$w.err" >&2
	# what lies in quarantine under this name has come again
	resolve() {
		for q in $(QUARANTINE)/*/; do
			[ "$$(cat "$$q/name" 2>/dev/null)" != "$$name" ] ||
			    : >"$$q/resolved"
		done
	}
	case $$status in
	0)
		resolve
		rm -f "$$w.tries" "$$w.err"
		: >"$@"
		echo "reprocess: $$name: done"
		exit 0 ;;
	65)
		tries=1 ;;
	64|66|70|74|77|126|127|129|130|143)
		exit $$status ;;
	*)
		tries=$$(cat "$$w.tries" 2>/dev/null || echo 0)
		tries=$$((tries + 1))
		echo $$tries >"$$w.tries"
		[ $$tries -ge $(CAP) ] || {
			echo "reprocess: $$name: exit $$status, $$tries of $(CAP)"
			exit $$status
		} ;;
	esac
	resolve
	# all that is known of it first: what has no "input" was cut short
	q=$$(mktemp -d "$(QUARANTINE)/$$(date -u +%Y%m%dT%H%M%SZ).XXXXXX")
	echo "$$name" >"$$q/name"
	echo $$status >"$$q/status"
	echo $$tries >"$$q/tries"
	mv "$$w.err" "$$q/verdict"
	mv "$$w.plan" "$$q/plan"
	mv "$(DELTAS)/$$name" "$$q/input"
	rm -rf "$$w.tries" "$$w.d"
	echo "reprocess: $$name: exit $$status: set aside in $$q"
endef

$(WORK)/%.done: $(DELTAS)/%/chroma.sqlite3
	$(one)
$(WORK)/%.done: $(DELTAS)/%/store.sqlite3
	$(one)
$(WORK)/%.done: $(DELTAS)/%
	$(one)

# What lies in quarantine and has not come again: name, status, times it
# was tried, the first line that was said of it.
define requeue
	mkdir -p $(QUARANTINE)
	for q in $(QUARANTINE)/*/; do
		[ -e "$$q/input" ] && [ ! -e "$$q/resolved" ] || continue
		printf '%s\t%s\t%s\t%s\n' "$$(cat "$$q/name")" \
		    "$$(cat "$$q/status")" "$$(cat "$$q/tries")" \
		    "$$(head -n 1 "$$q/verdict")"
	done | sort -u -k 1,1 >$(QUARANTINE)/.requeue
	mv $(QUARANTINE)/.requeue $(QUARANTINE)/requeue
	[ ! -s $(QUARANTINE)/requeue ] || echo "reprocess: set aside, to be" \
	    "made again: $$(wc -l <$(QUARANTINE)/requeue | tr -d ' '):" \
	    "$(QUARANTINE)/requeue"
endef

requeue:
	@$(requeue)

# What a plan names is its provider's to bring again, mended.
again:
	@for q in $(QUARANTINE)/*/; do
		n=$$(cat "$$q/name" 2>/dev/null) || continue
		case $$n in
		*.plan) ;;
		*)	continue ;;
		esac
		[ -e "$$q/input" ] && [ ! -e "$$q/resolved" ] &&
		    [ ! -e "$(DELTAS)/$$n" ] || continue
		cp "$$q/input" "$(DELTAS)/.$$n.new"
		mv "$(DELTAS)/.$$n.new" "$(DELTAS)/$$n"
		echo "reprocess: $$n: again"
	done

# The intermediates are forgotten; quarantine is yours.
clean:
	rm -rf $(WORK)

.PHONY: publish requeue again clean
