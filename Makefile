# Two commands do all the set-up: make quickstart and make test. They need Go, make and git.
export CGO_ENABLED ?= 0
STEPFLOW := bin/stepflow
Q := pipelines/quickstart

CAMPAIGN := -duration 1m

# What test, test-arm64, test-cuda and race leave to test-long.
SHORT := -short

.PHONY: campaign jaeger jaeger-ui test-jaeger test-backend test-prometheus test-slurm test-report test-lsp test-trackers test-mpi docs test-docs cuda cuda-kernels test-cuda test-cuda-asan test-cuda-driver build test test-long test-arm64 race lint generate fuzz bench bench-peers parity quickstart quickstart-compare check size help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

build: ## bin/stepflow, pure Go
	go build -trimpath -o $(STEPFLOW) ./cmd/stepflow

$(Q)/data/go-docs-questions.jsonl: | build
	$(STEPFLOW) sample go-docs -o $(Q)/data

quickstart: build $(Q)/data/go-docs-questions.jsonl ## make the data, train in three stages, evaluate, export, report
	$(STEPFLOW) apply -auto-approve $(Q)
	@echo
	@echo "validation loss $$($(STEPFLOW) output -dir $(Q) validation_loss) nats a token; unigram entropy of the same tokens $$($(STEPFLOW) output -dir $(Q) unigram_entropy)"
	@echo "report: $$($(STEPFLOW) report $(Q))"

quickstart-compare: build $(Q)/data/go-docs-questions.jsonl ## the quickstart's model in stages, all at once, and half of it, at equal FLOPs, two seeds
	$(STEPFLOW) apply -auto-approve pipelines/compare
	@$(STEPFLOW) output -dir pipelines/compare
	@echo "report: $$($(STEPFLOW) report pipelines/compare)"

test: ## all tests, without what test-long repeats at length, under ten minutes on two cores
	go test $(SHORT) -timeout 20m ./...

test-long: ## longer proofs: every test three times, every instruction set, fuzzing, ten minutes of the campaign
	go test -count=3 -timeout 60m ./...
	go test -timeout 60m -tags noasm ./gpu/... ./runtime/...
	go test -timeout 120m ./runtime -run TestEveryCombination -whole
	for isa in avx512 avx2 portable; do STEPFLOW_CPU_ISA=$$isa go test -count=1 -timeout 60m ./runtime ./runtime/train || exit 1; done
	$(MAKE) test-arm64 SHORT=
	$(MAKE) test-cuda SHORT=
	CGO_ENABLED=1 CGO_CXXFLAGS=-fsanitize=address go test -timeout 60m -asan -tags cudaemu ./gpu/cuda/emu
	tools/cuda/kernels.sh -check
	$(MAKE) test-cuda-driver
	$(MAKE) test-backend
	$(MAKE) test-trackers
	$(MAKE) test-mpi
	$(MAKE) race SHORT= UNRACED='^$$' RACED="$(RACED) $(RACED_LONG)"
	$(MAKE) fuzz
	$(MAKE) campaign CAMPAIGN="-duration 10m"

test-arm64: ## the NEON code, cross-compiled and run by qemu-aarch64-static
	GOARCH=arm64 CGO_ENABLED=0 go test -c -o bin/cpu_arm64.test ./gpu/cpu
	cd gpu/cpu && qemu-aarch64-static ../../bin/cpu_arm64.test $(if $(SHORT),-test.short) -test.run 'Conformance/neon|Loops|Exp|Convert|SameBits|Alone|Cached'

cuda: ## bin/stepflow-cuda, with a card's driver linked in (needs a C compiler; headers from CUDA or PyPI, no card)
	tools/cuda/build.sh

cuda-kernels: ## compile gpu/cuda/kernels again with NVRTC from PyPI (needs Python, no card)
	tools/cuda/kernels.sh

test-cuda: ## the CUDA device and its kernels on the emulator, and the quickstart's first steps (needs g++)
	CGO_ENABLED=1 go test $(SHORT) -tags cudaemu ./gpu/cuda/... ./ops/arch ./ops/optim ./runtime/forward ./runtime -run 'TestConformance|TestCUDA|TestMuon|TestLowMemory|TestProjections|TestParity$$|Test(Capture|Every|Neighbours|Operands|Updates|Attention|Find|Errors|Images|For)' -skip 'TestEveryCombination|TestForecast'

test-cuda-asan: ## every kernel on the emulator under the address sanitizer; matrix products are not kernels of ours
	CGO_ENABLED=1 CGO_CXXFLAGS=-fsanitize=address go test -asan -tags cudaemu -run 'Conformance/order0/^[^m]' ./gpu/cuda/emu

test-cuda-driver: build cuda ## stepflow-cuda and the card's own driver code, on a driver library made of the emulator
	tools/cuda/test.sh

jaeger: ## build Jaeger and start it on loopback: OTLP on 4317 and 4318, its page and API on 16686
	tools/jaeger/build.sh
	JAEGER_UI_ASSETS=$${JAEGER_UI_ASSETS-$(wildcard bin/jaeger-ui)} bin/jaeger --config tools/jaeger/config.yaml

jaeger-ui: ## build Jaeger's page, which make jaeger then serves (needs git, node and npm)
	tools/jaeger/ui.sh

test-jaeger: build $(Q)/data/go-docs-questions.jsonl ## the quickstart, shortened, traced into a real Jaeger and read back
	tools/jaeger/build.sh
	STEPFLOW_JAEGER=$(CURDIR)/bin/jaeger go test -count=1 -run TestJaeger -v ./cmd/stepflow

test-prometheus: build $(Q)/data/go-docs-questions.jsonl ## the rules and the dashboard of docs/observability, asked of a real Prometheus (needs Debian's prometheus)
	promtool check rules docs/observability/rules.yaml
	STEPFLOW_PROMETHEUS=$$(command -v prometheus) go test -count=1 -run 'TestPrometheus$$' -v ./cmd/stepflow

test-backend: build ## states and artifacts in a real MinIO: races, kills, outages, damage
	tools/minio/build.sh
	STEPFLOW_MINIO=$(CURDIR)/bin/minio go test -count=1 -run TestMinIO ./cmd/stepflow

test-slurm: build ## a sweep on a private Slurm of two virtual nodes, disturbed, against a run without it (needs root, and Debian's munge slurmctld slurmd slurm-client)
	tools/slurm/test.sh

test-report: build ## the report of every state a run can be found in, in headless Chromium, with axe (needs node, npm and chromium)
	tools/report/run.sh

docs: ## the pages of docs as a book that opens from disk, with search, in bin/docs (needs node and npm)
	tools/docs/build.sh

test-docs: ## that book in headless Chromium: every page found, none wider than a phone, nothing fetched (needs chromium too)
	tools/docs/build.sh -test

test-lsp: build ## stepflow lsp with a real client over standard input and output, and editors/vscode (needs Python, PyPI and node)
	tools/lsp/run.sh

test-trackers: build ## the quickstart, shortened, in a real MLflow, TensorBoard, trackio and wandb, and compared (needs Python and PyPI)
	tools/trackers/run.sh

# Long tests of the concurrent packages that the detector has little to find in: those of one goroutine, and those that do
# again, for longer, what shorter ones do.
UNRACED := TestReaders|TestRowsAlone|TestCachedAttention|TestGoDocs|TestFlippedBytes|TestPageBombs|TestLong|TestWorkIsLinear|TestOrder|TestCutIsSplit|TestPlannedPeak|TestGradientsOfManyParts|TestMergesKeep|TestManyLayers|TestBF16|TestConformance|TestChangesWhileReading|TestInterruptedWhileDataDoNotCome|TestOtherNumbers|TestEffort|TestTruncated|TestGap|TestCompletion|TestExtendingGives|TestRestartsResume|TestKeepHolds|TestDataThatChange|TestMovesGoOn|TestWorkIsFound|TestSameThingSaid|TestGrowthPreserves|TestCheckpointBytes|TestExportCutOff|TestDamaged|TestCompressed|TestBinDocuments|TestMillionSteps|TestPageIsBounded|TestHuge|TestEveryFlippedBit|TestCheckFinds|TestLowMemory|TestNarrowStates

# What has goroutines of its own; make test-long adds those that run it, whole pipelines among them.
RACED := ./gpu/cpu ./gpu/group ./gpu/rendezvous ./fineweb ./runtime/train ./runtime/observe ./runtime/artifacts ./tracing ./lsp
RACED_LONG := ./runtime ./runtime/mlflow ./runtime/state/... ./report

race: ## race detector over the concurrent packages (needs cgo)
	CGO_ENABLED=1 go test $(SHORT) -race -skip '$(UNRACED)' $(RACED)

test-mpi: ## the MPI libraries of PyPI: Open MPI 5, MPICH 5 by the standard ABI and by its own (needs Python and PyPI)
	tools/mpi/run.sh

lint: ## gofmt, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files"; exit 1; }
	go vet ./...
	go vet -tags noasm ./gpu/cpu
	GOARCH=arm64 go vet ./gpu/cpu # no other package has files for one architecture
	go tool staticcheck ./...
	go tool staticcheck -tags noasm ./gpu/cpu

generate: ## files made by programs: assembly, the references of language, commands and traces
	go generate ./...
	$(MAKE) build # before the pages are emptied
	$(STEPFLOW) schema -markdown > docs/language.md
	$(STEPFLOW) schema -tracing > docs/tracing.md
	go test ./cmd/stepflow -run TestCommandsPage -update
	go test ./runtime/compatibility -run TestPage -update

fuzz: ## every fuzz target, 30 seconds each
	tools/fuzz.sh

campaign: build ## attack runs for a minute: kills, faults, damage, races (Linux; CAMPAIGN="-duration 1h -seed 7" for another)
	go build -o bin/campaign ./tools/campaign
	bin/campaign $(CAMPAIGN)

bench: ## Go benchmarks of the hot paths
	go test -run=XXX -bench=. ./...

bench-peers: ## products and training steps against OpenBLAS, oneDNN, PyTorch and libraries that save memory (needs Python and PyPI)
	bench/run.sh

parity: ## remake the fixtures with transformers, torch, peft, tokenizers and compare (needs Python and PyPI)
	tools/parity/run.sh

check: ## what CI runs, in one command; parts whose tools are missing are named in the end
	.ci/run

size: build ## size of the binary and of the code
	@ls -l $(STEPFLOW)
	@git ls-files '*.go' | grep -v _test.go | xargs wc -l | tail -1
