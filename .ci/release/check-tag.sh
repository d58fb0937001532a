#!/bin/sh
# Fail unless a tag such as v1.2.3 is the version of the service, the image in the manifests and the chart.
#
#   check-tag.sh TAG
set -eu

cd "$(dirname "$0")/../.."
tag=$1
failed=0

compare() {
    [ "v$2" = "$tag" ] || {
        echo "check-tag.sh: the tag is $tag, but $1 has the version $2" >&2
        failed=1
    }
}

compare ingest/__init__.py "$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' ingest/__init__.py)"
compare docs/kubernetes/kustomization.yaml "$(sed -n 's/^ *newTag: //p' docs/kubernetes/kustomization.yaml)"
compare docs/kubernetes/chart/Chart.yaml "$(sed -n 's/^version: //p' docs/kubernetes/chart/Chart.yaml)"
exit $failed
