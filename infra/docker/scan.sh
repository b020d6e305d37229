#!/bin/sh
# Known vulnerabilities in an image; the status is 1 where there are some:
#   infra/docker/scan.sh IMAGE
# With trivy where it is installed: all of the image, what is high or critical and has a fix. Else
# with pip-audit: the Python packages of the environment that the image runs, or, with
#   infra/docker/scan.sh --environment FOLDER
# those of an environment on this machine.
set -eu

if [ "${1:-}" = --environment ] && [ $# -eq 2 ]; then
    exec pip-audit --skip-editable --path "$("$2/bin/python" -c 'import site; print(site.getsitepackages()[0])')"
fi
if [ $# -ne 1 ]; then
    echo "usage: $0 IMAGE | --environment FOLDER" >&2
    exit 2
fi
if command -v trivy >/dev/null; then
    exec trivy image --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL "$1"
fi
packages=$(mktemp)
trap 'rm -f "$packages"' EXIT
# Not our own package: nobody publishes vulnerabilities of it.
docker run --rm --entrypoint pip "$1" freeze --exclude mmesid >"$packages"
pip-audit --no-deps --disable-pip --requirement "$packages"
