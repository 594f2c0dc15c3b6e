#!/usr/bin/env bash
# The four services on this machine, over a real Kafka broker and PostgreSQL, fed by the simulated GitHub.
# Installs what is missing, builds, starts everything in a temporary folder, prints a sign-in link, and
# runs until Ctrl-C.
#   cluster.sh [EVENTS]     events of the simulated month; 20,000 when not given
set -euo pipefail
cd "$(dirname "$0")/.."
events="${1:-20000}"
scripts/setup.sh test
libs="$(scripts/kafka.sh)"
cargo build --release --locked -p hubwarden-collector -p hubwarden-normalizer -p hubwarden-detector \
  -p hubwarden-console -p hubwarden-simulator --bins
bin="${CARGO_TARGET_DIR:-target}/release"
bin="$(cd "$bin" && pwd)"
folder="$(mktemp -d)"
pids=()
stop() {
  trap - EXIT
  for ((at = ${#pids[@]} - 1; at >= 0; at--)); do kill "${pids[at]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

# port NAME: a free port
port() { node -e 's=require("net").createServer().listen(0,"127.0.0.1",()=>{console.log(s.address().port);s.close()})'; }
# until_open PORT WHAT
until_open() {
  for _ in $(seq 600); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  echo "$2 did not open port $1; its log is in $folder" >&2
  tail -n 5 "$folder/$2.log" >&2
  trap - EXIT
  exit 1
}
# run NAME COMMAND…: starts it with a log of its own
run() {
  local name="$1"
  shift
  "$@" >"$folder/$name.log" 2>&1 &
  pids+=("$!")
}

echo "starting Apache Kafka and PostgreSQL" >&2
kafka_port="$(port)" controller_port="$(port)"
cat >"$folder/kafka.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$kafka_port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port
controller.listener.names=CONTROLLER
log.dirs=$folder/kafka
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=35000000
replica.fetch.max.bytes=35000000
PROPERTIES
java -cp "$libs/*" kafka.tools.StorageTool format -t "$(java -cp "$libs/*" kafka.tools.StorageTool random-uuid)" \
  -c "$folder/kafka.properties" >"$folder/kafka-format.log" 2>&1
run kafka java -Xmx512m -cp "$libs/*" kafka.Kafka "$folder/kafka.properties"
postgres="$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | tail -n 1)")"
as=()
if [ "$(id -u)" = 0 ]; then
  chmod 755 "$folder"
  install -d -o postgres "$folder/postgres"
  as=(runuser -u postgres --)
else
  mkdir "$folder/postgres"
fi
"${as[@]}" "$postgres/initdb" -D "$folder/postgres/data" -U hubwarden -E UTF8 -A trust >"$folder/initdb.log" 2>&1
postgres_port="$(port)"
run postgres "${as[@]}" "$postgres/postgres" -D "$folder/postgres/data" -p "$postgres_port" \
  -c listen_addresses=127.0.0.1 -c unix_socket_directories=
until_open "$kafka_port" kafka
until_open "$postgres_port" postgres

github_port="$(port)"
run simulator "$bin/hubwarden-simulator" --listen "127.0.0.1:$github_port" --token octo-token --events "$events"
until_open "$github_port" simulator

# common NAME HEALTH_PORT: the sections that every service has
common() {
  cat <<TOML
[bus]
member = "$1"
[bus.kafka]
brokers = ["127.0.0.1:$kafka_port"]
replication = 1
[grpc]
listen = "127.0.0.1:0"
[health]
listen = "127.0.0.1:$2"
[log]
filter = "info"
format = "json"
TOML
}
web_port="$(port)"
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/web.token"
echo octo-token >"$folder/github.token"
echo "postgres://hubwarden@127.0.0.1:$postgres_port/postgres" >"$folder/store.url"
declare -A health
for name in collector normalizer match correlate console; do
  health[$name]="$(port)"
  common "$name-0" "${health[$name]}" >"$folder/$name.toml"
done
cat >>"$folder/collector.toml" <<TOML
[[github]]
name = "octo-corp"
id = "octo-corp"
enterprise = "octo-corp"
base_url = "http://127.0.0.1:$github_port"
token = { file = "github.token" }
poll = { interval = "5s", budget = 1.0 }
TOML
cat >>"$folder/correlate.toml" <<TOML
[state]
dir = "$folder/state"
snapshots = "file://$folder/snapshots"
TOML
cat >>"$folder/console.toml" <<TOML
[store]
kind = "postgres"
url = { file = "store.url" }
[web]
listen = "127.0.0.1:$web_port"
token = { file = "web.token" }
TOML
for name in collector normalizer match correlate console; do
  case "$name" in
  match | correlate) run "$name" "$bin/hubwarden-detector" --config "$folder/$name.toml" --role "$name" ;;
  *) run "$name" "$bin/hubwarden-$name" --config "$folder/$name.toml" ;;
  esac
done
for name in normalizer match correlate console collector; do
  until_open "${health[$name]}" "$name"
  for _ in $(seq 600); do
    curl -fsS -o "$folder/ready" "http://127.0.0.1:${health[$name]}/readyz" 2>/dev/null && break
    sleep 0.1
  done
  curl -fsS -o "$folder/ready" "http://127.0.0.1:${health[$name]}/readyz" || {
    echo "$name is not ready:" >&2
    curl -sS "http://127.0.0.1:${health[$name]}/readyz" >&2
    tail -n 5 "$folder/$name.log" >&2
    exit 1
  }
  echo "$name is ready (probes and metrics at http://127.0.0.1:${health[$name]})" >&2
done
link="$(curl -fsS -X POST -H "authorization: Bearer $(cat "$folder/web.token")" "http://127.0.0.1:$web_port/api/v1/link")"
echo "configuration and logs: $folder" >&2
echo "JSON API: curl -H \"authorization: Bearer \$(cat $folder/web.token)\" http://127.0.0.1:$web_port/api/v1/findings" >&2
echo "sign in: $link"
wait
