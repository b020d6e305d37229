#!/bin/sh
# What is in an image, as a CycloneDX document on standard output:
#   infra/docker/sbom.sh IMAGE
# With syft where it is installed: all of the image. Else with `cyclonedx-py` (pip install
# cyclonedx-bom): the Python packages of the environment that the image runs, or, with
#   infra/docker/sbom.sh --environment FOLDER
# those of an environment on this machine.
set -eu

if [ "${1:-}" = --environment ] && [ $# -eq 2 ]; then
    exec cyclonedx-py environment --output-format JSON "$2/bin/python"
fi
if [ $# -ne 1 ]; then
    echo "usage: $0 IMAGE | --environment FOLDER" >&2
    exit 2
fi
if command -v syft >/dev/null; then
    exec syft scan --quiet --output cyclonedx-json "$1"
fi
docker run --rm --entrypoint pip "$1" freeze | cyclonedx-py requirements --output-format JSON -
