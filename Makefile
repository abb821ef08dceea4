# Everything a newcomer types. `check` and `test` write nothing but build outputs under target/.
# Figures, folders and ports: docs/OPERATING.md. What the simulation targets print: docs/SIMULATION.md.

CARGO ?= cargo
# The same files, built a second time for the simulated world, in a folder of their own: the flag changes every package.
SIM := RUSTFLAGS="--cfg madsim" CARGO_TARGET_DIR=target/sim $(CARGO)
# Always with the planted bugs, which are off unless asked for: with other features all would be built a second time.
SIM_TEST := $(SIM) test --locked --profile sim -p quorate-sim --features quorate-sim/planted_bugs
# Unit tests of the coordinator and of raft in the simulated world: they run for seconds, and would be optimised for minutes.
SIM_UNIT := $(SIM) --config profile.sim.package.quorate.opt-level=0 --config profile.sim.package.quorate-raft.opt-level=0 \
  test --locked --profile sim -p quorate-sim --features quorate-sim/planted_bugs
SIM_RUN = [ -x $(SIM_BUILT) ] || echo "building the simulation: some minutes the first time" >&2; \
  $(SIM) run --locked --quiet --profile sim -p quorate-sim --features planted_bugs --
# The simulator as its own tests have it: `run` would build server and simulator once more, for fewer features of what they use.
SIM_BUILT := target/sim/sim/quorate-sim
QUORATE := target/release/quorate
# Given on the command line, it is there already.
BUILT := $(if $(filter command,$(origin QUORATE)),,build)
# Threads of each of three nodes on this machine.
WORKERS := $(shell cores=$$(nproc); echo $$((cores > 5 ? cores / 3 : 1)))
DENY_VERSION := 0.20.2
DENY := target/tools/bin/cargo-deny
FUZZ_VERSION := 0.13.2
FUZZ := target/tools/bin/cargo-fuzz

.PHONY: help run cluster build check fmt clippy clippy-production clippy-simulated deny tidy test interop interop-packages demo-elastic ready sim replay shrink story view hunt gate night determinism bugs fuzz doc bench pgo
help:
	@sed -n 's/^## //p' Makefile

## make run            one node, ./data; Seata clients on 8091, HTTP on 7091
run: build
	$(QUORATE) server

## make cluster        three nodes on 8091.., 7091.., 9091.., ./data-cluster/n1..n3; Ctrl-C stops them, and so does one that fails
cluster: $(BUILT)
	@peers=1=127.0.0.1:9091,2=127.0.0.1:9092,3=127.0.0.1:9093; nodes=; pids=; \
	trap 'trap - INT TERM; kill $$pids 2>/dev/null; wait; exit 0' INT TERM; \
	for n in 1 2 3; do \
	  mkdir -p data-cluster/n$$n; \
	  $(QUORATE) server --node-id $$n --peers $$peers --data-dir data-cluster/n$$n --listen 127.0.0.1:809$$n \
	    --admin-listen 127.0.0.1:709$$n --peer-listen 127.0.0.1:909$$n --workers $(WORKERS) 2>data-cluster/n$$n/log & \
	  nodes="$$nodes $$n:$$!"; pids="$$pids $$!"; \
	done; \
	echo "three nodes; logs in data-cluster/n1..n3/log; Ctrl-C stops them"; \
	while [ -n "$$nodes" ]; do sleep 0.2; left=; for node in $$nodes; do \
	  n=$${node%:*}; pid=$${node#*:}; if kill -0 $$pid 2>/dev/null; then left="$$left $$node"; continue; fi; \
	  wait $$pid; code=$$?; \
	  if [ $$code -gt 128 ] || [ $$code -eq 0 ]; then echo "node $$n was killed or stopped ($$code); the others go on"; continue; fi; \
	  echo "node $$n ended with $$code:"; tail -n 3 data-cluster/n$$n/log; \
	  echo "the others are stopped"; kill $$pids 2>/dev/null; wait; exit 1; \
	done; nodes=$$left; done

build:
	$(CARGO) build --locked --release --features jemalloc

## make check          formatting, lints in both worlds, licenses and bans, house rules
check: fmt
	@$(MAKE) --no-print-directory -j3 clippy-production clippy-simulated deny
	@$(MAKE) --no-print-directory tidy

fmt:
	$(CARGO) fmt --all --check

clippy: clippy-production clippy-simulated

clippy-production:
	$(CARGO) clippy --locked --all-targets -- -D warnings

clippy-simulated:
	$(SIM) clippy --locked --profile sim --workspace --all-targets -- -D warnings

$(DENY):
	CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --debug --locked --root target/tools --version $(DENY_VERSION) cargo-deny

deny: $(DENY)
	$(CARGO) fetch --locked --quiet
	$(DENY) --locked --offline check bans licenses sources

tidy:
	$(CARGO) test --locked --quiet --test tidy

## make test           all tests, in both worlds what touches the world, determinism, a quarter of the planted bugs (another one each day), 20 fresh seeds
test:
	$(CARGO) test --locked
	$(SIM_TEST) -p quorate-world -p quorate-storage -p quorate-client
	$(SIM_UNIT) -p quorate-raft -p quorate --lib
	$(SIM_BUILT) determinism
	$(SIM_BUILT) bugs acknowledge_before_sync decide_before_commit lock_kept_at_end
	$(SIM_BUILT) bugs --part $$(( $$(date +%j | sed 's/^0*//') % 4 ))/4
	@first=$$(( $$(date +%Y%m%d) * 1000000 + 600000 + $$(date +%s) % 300000 )); $(SIM_BUILT) hunt --seeds $$first..$$((first + 19))

## make interop        stock Java, Go and Python clients against real nodes and MariaDB, a development build of it [BINARY=..]
interop: interop-packages
	@[ -n "$(BINARY)" ] || $(CARGO) build --locked
	python3 -m unittest discover -q -s tests/interop
	python3 tests/interop/run.py --binary $(or $(BINARY),target/debug/quorate) $(SUITES)

interop-packages:
	@missing=; for tool in mariadbd:mariadb-server javac:default-jdk-headless mvn:maven go:golang-go; do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool#*:}"; done; \
	python3 -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -z "$$missing" ] || { echo "installing$$missing"; apt-get update -q && apt-get install -y -q --no-install-recommends $$missing; }

## make demo-elastic   nodes come, die, are replaced and go under load [BINARY=target/debug/quorate] [DEMO="--in-flight 16"]
demo-elastic:
	@[ -n "$(BINARY)" ] || $(MAKE) build
	python3 tests/interop/elastic.py --binary $(or $(BINARY),$(QUORATE)) $(DEMO)

## make ready          how soon fresh nodes serve, one and three together, and what they hold then [BINARY=target/debug/quorate]
ready:
	@[ -n "$(BINARY)" ] || $(MAKE) build
	python3 tests/interop/ready.py --binary $(or $(BINARY),$(QUORATE))

## make sim SEED=7     one seed of the simulation [WORLD=R1] [BUG=name]
sim:
	@$(SIM_RUN) run --seed $(or $(SEED),7) $(if $(WORLD),--world $(WORLD)) $(if $(BUG),--bug $(BUG)) $(if $(TRACE),--trace $(TRACE)) $(if $(LOG),--log $(LOG))

## make replay FILE=f  an artefact again, event for event [TRACE=file] [LOG=filter]
replay:
	@$(SIM_RUN) replay $(FILE) $(if $(TRACE),--trace $(TRACE)) $(if $(LOG),--log $(LOG))

## make shrink FILE=f  a failure with as little in it as possible; or SEED=n [WORLD=R1] [BUG=name]
shrink:
	@$(SIM_RUN) shrink $(if $(FILE),$(FILE),--seed $(or $(SEED),7) $(if $(WORLD),--world $(WORLD)) $(if $(BUG),--bug $(BUG)))

## make story FILE=f   what happened in an artefact, in plain text
story:
	@$(SIM_RUN) story $(FILE)

## make view FILE=f    the same as a page: f with .html at its end, for any browser
view:
	@$(SIM_RUN) view $(FILE)

## make hunt SEEDS=1..100   a range of seeds, in parallel [WORLD=R1] [BUG=name] [JSON=file]
hunt:
	@$(SIM_RUN) hunt --seeds $(or $(SEEDS),1..100) $(if $(WORLD),--world $(WORLD)) $(if $(BUG),--bug $(BUG)) $(if $(JSON),--json $(JSON))

# Seeds never repeat: the day, then from 0 on for nights, from 500,000 on by the time of day for gates.
## make gate           small failures of old, fresh seeds, some of them again: ten minutes of two cores
gate:
	@first=$$(( $$(date +%Y%m%d) * 1000000 + 500000 + $$(date +%s) % 86400 )); \
	$(SIM_RUN) gate --first $$first --cpu-s $(or $(CPU_S),1200) --json target/sim/gate.json

## make night          the same for an hour, and every planted bug
night:
	@$(SIM_RUN) gate --first $$(( $$(date +%Y%m%d) * 1000000 )) --cpu-s $(or $(CPU_S),6000) --json target/sim/night.json
	@$(SIM_RUN) bugs

## make determinism    16 seeds of R0 and 4 of R1, twice, in fresh processes: the same hashes [SEEDS=1..20] [WORLD=R2]
determinism:
	@$(SIM_RUN) determinism $(if $(SEEDS),--seeds $(SEEDS)) $(if $(WORLD),--world $(WORLD))

## make bugs           is every planted bug found? [PART=0/4] for a quarter of them
bugs:
	@$(SIM_RUN) bugs $(if $(PART),--part $(PART))

$(FUZZ):
	$(CARGO) install --locked --root target/tools --version $(FUZZ_VERSION) cargo-fuzz

## make fuzz TARGET=frames [SECONDS=60]   or messages, packed, commands, snapshots, operations; needs the nightly toolchain
fuzz: $(FUZZ)
	@$(CARGO) +nightly --version >/dev/null || { echo "fuzzing needs: rustup toolchain install nightly"; exit 1; }
	@mkdir -p target/fuzz/$(or $(TARGET),frames)
	RUSTUP_TOOLCHAIN=nightly $(FUZZ) run $(or $(TARGET),frames) $(CURDIR)/target/fuzz/$(or $(TARGET),frames) \
	  $(CURDIR)/fuzz/corpus/$(or $(TARGET),frames) -- -max_total_time=$(or $(SECONDS),60)

## make bench BENCH="--shape at"   load on three fresh nodes on ports 1809x
bench: $(BUILT)
	@rm -rf target/bench; peers=1=127.0.0.1:19091,2=127.0.0.1:19092,3=127.0.0.1:19093; pids=; \
	trap 'kill $$pids 2>/dev/null; wait' EXIT; trap 'exit 130' INT TERM; \
	for n in 1 2 3; do \
	  mkdir -p target/bench/n$$n; \
	  $(QUORATE) server --node-id $$n --peers $$peers --data-dir target/bench/n$$n --listen 127.0.0.1:1809$$n \
	    --admin-listen 127.0.0.1:1709$$n --peer-listen 127.0.0.1:1909$$n --workers $(WORKERS) >target/bench/n$$n/ready 2>target/bench/n$$n/log & \
	  pids="$$pids $$!"; \
	done; \
	for n in 1 2 3; do tries=0; until grep -q '^ready ' target/bench/n$$n/ready; do \
	  tries=$$((tries + 1)); [ $$tries -lt 200 ] || { echo "node $$n is not ready, see target/bench/n$$n/log"; exit 1; }; sleep 0.1; \
	done; done; \
	$(QUORATE) bench --workers $(WORKERS) --servers 127.0.0.1:18091,127.0.0.1:18092,127.0.0.1:18093 --pids $$(echo $$pids | tr ' ' ,) $(BENCH)

## make pgo            target/pgo/release/quorate: built, trained by `make bench`, built anew as the training showed: two release builds
PGO := $(CURDIR)/target/pgo
pgo:
	rustup component add llvm-tools
	@rm -rf $(PGO)/raw
	RUSTFLAGS="-Cprofile-generate=$(PGO)/raw" CARGO_TARGET_DIR=$(PGO) $(CARGO) build --locked --release --features jemalloc
	for shape in "empty" "at --branches 1" "at --branches 3" "tcc --branches 2"; do LLVM_PROFILE_FILE=$(PGO)/raw/%p-%m.profraw \
	  $(MAKE) bench QUORATE=$(PGO)/release/quorate BENCH="--shape $$shape --warm-up-s 2 --measured-s 10" || exit 1; done
	"$$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-profdata merge -o $(PGO)/trained.profdata $(PGO)/raw
	RUSTFLAGS="-Cprofile-use=$(PGO)/trained.profdata" CARGO_TARGET_DIR=$(PGO) $(CARGO) build --locked --release --features jemalloc

## make doc            the documentation of the code
doc:
	$(CARGO) doc --locked --no-deps --workspace --exclude quorate-sim
