#!/usr/bin/env bash
# Prints the alert rules of dashboards/alerts as a PrometheusRule for the Prometheus operator:
#   scripts/prometheus-rule.sh | kubectl apply -f -
set -euo pipefail
cd "$(dirname "$0")/../dashboards/alerts"
cat <<'HEAD'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: hubwarden
  namespace: hubwarden
spec:
  groups:
HEAD
# Each file is a comment, the key `groups:` and its list; the lists go one after the other.
for file in *.yml; do sed -n '1,/^groups:$/!s/^\(.\)/  \1/p' "$file"; done
