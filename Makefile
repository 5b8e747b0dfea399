# Broletto. `make help` lists the targets. Needed: Go, make, git, a C compiler; everything else is built from Go modules, pinned, and
# kept in the user's cache folder.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
ARGS ?=
NODE_ARGS ?=

# Every module of ours but the main one. Each has its own dependencies, so that none of them reaches the operator.
MODULES := hack/chart hack/engine/pulumi-resource-incluster hack/image hack/kube hack/node hack/node/coredns test/chart test/node
# The Go of images, to the patch: another one gives another digest. The go command downloads it where it is another one itself.
IMAGE_GO := go1.26.8
GO_BUILD := go build -trimpath -ldflags '-s -w'

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ What it does
.PHONY: demo
demo: build $(if $(findstring --nodes,$(ARGS)),node) ## Host two real consortia on this machine (ARGS="--once": stop after the report; --nodes: on real nodes)
	@bin/broletto demo $(ARGS)

.PHONY: node
node: ## Start a cluster with two real nodes on this machine; Linux, root (NODE_ARGS="--dir folder")
	@hack/packages
	@go run -C hack/node ./cmd/node up $(NODE_ARGS) > /dev/null

.PHONY: node-down
node-down: ## End that cluster and leave nothing behind
	@go run -C hack/node ./cmd/node down $(NODE_ARGS)

.PHONY: kubectl
kubectl: ## Build kubectl into the cache and print its path
	@echo "$$(go run -C hack/kube ./cmd/kube build kubectl)/kubectl"

.PHONY: engines
engines: ## Build what stacks are run with, tofu and pulumi and their providers, into the cache and print the folder
	@go run -C hack/kube ./cmd/kube build-engines

.PHONY: build
build: ## Build the binaries into bin/
	@$(GO_BUILD) -o bin/broletto ./operator/cmd/broletto
	@if [ -d operator/cmd/broletto-runner ]; then CGO_ENABLED=0 $(GO_BUILD) -o bin/broletto-runner ./operator/cmd/broletto-runner; fi
	@CGO_ENABLED=0 $(GO_BUILD) -o bin/broletto-mover ./operator/cmd/broletto-mover

.PHONY: image
image: ## Make the operator's image and its bill of materials in dist/ (ARGS="-arch amd64")
	@GOTOOLCHAIN=$(IMAGE_GO) go run -C hack/image ./cmd/image $(ARGS)

.PHONY: runner-image
runner-image: ## The same for the runner of stacks, with its engines (ARGS="-add terraform=/usr/local/bin/terraform")
	@GOTOOLCHAIN=$(IMAGE_GO) go run -C hack/image ./cmd/image -program broletto-runner $(ARGS)

.PHONY: mover-image
mover-image: ## The same for the mover of volumes and dumps (ARGS=-databases for those, with Debian's PostgreSQL of this machine)
	@GOTOOLCHAIN=$(IMAGE_GO) go run -C hack/image ./cmd/image -program broletto-mover $(ARGS)

##@ How it is proven
.PHONY: test
test: ## Run all tests against a real control plane
	@hack/test $(ARGS)

.PHONY: e2e
e2e: ## Install the chart on a cluster with two nodes and try what it promises (Linux, root; ARGS="-run TestTraffic")
	@hack/packages || [ -z "$${CI:-}" ]
	@go test -C test/node -v -p 1 -parallel 6 -count=1 -timeout 75m $(ARGS) ./...

.PHONY: torture
torture: ## Make holes on purpose and see a test fail for each (ARGS="-only hosts")
	@go run ./test/torture $(ARGS)

.PHONY: bench
bench: ## Measure time, requests and memory (ARGS="-tenants 50 -workspaces 3")
	@go run ./test/scale $(ARGS)

.PHONY: bench-stack
bench-stack: ## Measure stacks beside a shell loop over the engine (ARGS="-stacks 100")
	@go run ./test/scale -stacks 100 $(ARGS)

.PHONY: bench-backup
bench-backup: ## Measure backups of volumes beside restic and tar, zstd and age (ARGS="-size 256 -small 20000")
	@hack/packages
	@go run ./test/volumes $(ARGS)

.PHONY: lint
lint: ## Run the linters in every module
	@hack/lint/run $(MODULES)

.PHONY: verify
verify: ## Fail if generated files, formatting or modules differ from their sources
	@hack/verify $(MODULES)

##@ How it is made
.PHONY: generate
generate: ## Write all generated code: deepcopy, CRDs, apply configurations, RBAC, chart, API reference
	@hack/generate

.PHONY: chart
chart: ## Write the chart's generated templates from config/
	@go run -C hack/chart .

.PHONY: clean
clean: ## Remove what was built here; the cache of the control plane stays
	@rm -rf bin dist
