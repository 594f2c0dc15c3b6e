#!/usr/bin/env bash
# Starts a broker by config/compose/kafka.sh with real Kafka, in a network of its own, creates a
# topic as the services do, and stops it again. The folder of Kafka's jars is the argument.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${INSIDE:-}" ]; then
  INSIDE=1 exec unshare --net -- "tests/deploy/broker.sh" "$1"
fi
jars=$1
ip link set lo up
work=$(mktemp -d)
trap 'kill "$broker" 2>/dev/null || true; wait "$broker" || true; rm -rf "$work"' EXIT
# What the image has as scripts.
for pair in kafka-storage.sh:kafka.tools.StorageTool kafka-server-start.sh:kafka.Kafka; do
  printf '#!/bin/sh\nexec java -Xmx300m -cp "%s/*" %s "$@"\n' "$jars" "${pair#*:}" >"$work/${pair%%:*}"
  chmod +x "$work/${pair%%:*}"
done
KAFKA_BIN=$work KAFKA_DATA=$work/data CLUSTER_ID=5L6g3nShT-eMCtK--X86sw NODE_ID=1 HOST=localhost \
  VOTERS=1@localhost:9093 REPLICAS=1 bash config/compose/kafka.sh >"$work/log" 2>&1 &
broker=$!
tool() { java -cp "$jars/*" "org.apache.kafka.tools.$1" --bootstrap-server localhost:9092 "${@:2}" 2>>"$work/tools"; }
for _ in $(seq 120); do
  kill -0 "$broker" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  (exec 3<>/dev/tcp/127.0.0.1/9092) 2>/dev/null && break
  sleep 0.5
done
tool TopicCommand --create --topic hubwarden.raw.v1 --partitions 12 --replication-factor 1 \
  --config message.timestamp.type=LogAppendTime --config max.message.bytes=33685504
described=$(tool TopicCommand --describe --topic hubwarden.raw.v1)
[[ $described == *"PartitionCount: 12"* ]] || { echo "$described" >&2; cat "$work/tools" >&2; exit 1; }
