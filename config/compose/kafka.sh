#!/bin/bash
# Starts one Kafka broker in KRaft mode; the compose file tells the rest by environment:
#   NODE_ID   this broker's number      HOST  the name under which others reach it
#   VOTERS    id@host:9093, each broker REPLICAS  how many brokers hold each record
set -euo pipefail
bin=${KAFKA_BIN:-/opt/kafka/bin}
data=${KAFKA_DATA:-/var/lib/kafka/data}
settings=$(mktemp)
insync=$((REPLICAS > 2 ? 2 : 1))
cat > "$settings" <<PROPERTIES
process.roles=broker,controller
node.id=$NODE_ID
controller.quorum.voters=$VOTERS
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093
advertised.listeners=PLAINTEXT://$HOST:9092
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$data
auto.create.topics.enable=false
default.replication.factor=$REPLICAS
offsets.topic.replication.factor=$REPLICAS
transaction.state.log.replication.factor=$REPLICAS
transaction.state.log.min.isr=$insync
min.insync.replicas=$insync
# Records are up to 32 MiB (raw).
message.max.bytes=34603008
replica.fetch.max.bytes=34603008
socket.request.max.bytes=104857600
unclean.leader.election.enable=false
group.initial.rebalance.delay.ms=0
PROPERTIES
"$bin/kafka-storage.sh" format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$settings"
exec "$bin/kafka-server-start.sh" "$settings"
