#!/usr/bin/env bash
# Checks k8s/, docker-compose.yml and the Dockerfile; prints `N passed, N failed, N skipped`.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(../../scripts/deploy-tools.sh)
export PYTHONDONTWRITEBYTECODE=1
exec "$tools/venv/bin/python" check.py "$tools"
