#!/bin/sh
# Known vulnerabilities in an image; the status is 1 where there are some:
#   infra/docker/scan.sh IMAGE
# With trivy where it is installed: all of the image, what is high or critical and has a fix. Else
# with pip-audit: the Python packages of the environment that the image runs, or, with
#   infra/docker/scan.sh --environment FOLDER
# those of an environment on this machine.
set -eu

packages=$(mktemp)
trap 'rm -f "$packages"' EXIT

audit() { # standard input: what `pip freeze` says
    # A build for the CPU is published as the plain version. Strict: what cannot be checked is a failure.
    sed 's/+cpu$//' >"$packages"
    pip-audit --strict --no-deps --disable-pip --requirement "$packages"
}

# Not our own package: nobody publishes vulnerabilities of it.
if [ "${1:-}" = --environment ] && [ $# -eq 2 ]; then
    "$2/bin/pip" freeze --exclude mmesid | audit
elif [ $# -ne 1 ]; then
    echo "usage: $0 IMAGE | --environment FOLDER" >&2
    exit 2
elif command -v trivy >/dev/null; then
    trivy image --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL "$1"
else
    docker run --rm --entrypoint pip "$1" freeze --exclude mmesid | audit
fi
