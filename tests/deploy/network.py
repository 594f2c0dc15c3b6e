"""Checks of network policies and of scaling by lag: rendered documents in, what is wrong out."""

import re

import settings
from kubernetes import labels, mounted, of, selects, service_of, workloads


def rules(documents, workload, direction):
    """Rules of every policy that holds for a workload's pods, with the policy's name."""
    for policy in of(documents, "NetworkPolicy"):
        spec = policy["spec"]
        if direction in spec["policyTypes"] and selects(spec["podSelector"], labels(workload)):
            for rule in spec.get(direction.lower(), []):
                yield policy["metadata"]["name"], rule


def ports(rule):
    return {(port.get("protocol", "TCP"), port["port"]) for port in rule.get("ports", [])}


def denied(documents):
    """Everything is refused unless a policy allows it, and no policy allows all ports or everybody."""
    everything = [policy for policy in of(documents, "NetworkPolicy")
                  if policy["spec"]["podSelector"] == {} and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
                  and not policy["spec"].get("ingress") and not policy["spec"].get("egress")]
    if len(everything) != 1:
        yield "no policy denies by default"
    for policy in of(documents, "NetworkPolicy"):
        for side, peers in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(side, []):
                if not rule.get("ports") or not rule.get(peers):
                    yield f"{policy['metadata']['name']}: an {side} rule without ports or without peers allows all"


def entrances(documents):
    """A port is open exactly when some container listens there."""
    for name, workload, pod in workloads(documents):
        listening = {("TCP", port["containerPort"]) for container in pod["containers"] for port in container["ports"]}
        allowed = set().union(*(ports(rule) for _, rule in rules(documents, workload, "Ingress")))
        if listening - allowed:
            yield f"{name}: no policy lets anybody in at {sorted(listening - allowed)}"
        if allowed - listening:
            yield f"{name}: policies let in at {sorted(allowed - listening)}, where nothing listens"


def needs(service, name, values):
    """Where a service must get to: namespace or `internet`, and port."""
    yield "kube-system", ("UDP", 53)
    for broker in values["bus.kafka.brokers"]:
        host, port = broker.rsplit(":", 1)
        yield host.split(".")[-2], ("TCP", int(port))
    if otlp := values.get("telemetry.otlp"):
        host, port = re.fullmatch(r"https?://([\w.-]+):(\d+)", otlp).groups()
        yield host.split(".")[-2], ("TCP", int(port))
    if service == "collector":
        yield "internet", ("TCP", 443)
    if name.endswith("correlate") and values.get("state.snapshots", "").startswith("s3://"):
        yield "internet", ("TCP", 443)
    if service == "console" and values.get("store.kind") == "postgres":
        yield "postgres", ("TCP", 5432)


def exits(documents):
    """What the configuration names can be reached, and nothing in the cluster that it does not name."""
    for name, workload, _ in workloads(documents):
        service = service_of(workload)
        values = settings.effective(*mounted(documents, workload))
        wanted = set(needs(service, name, values))
        allowed = set()
        for _, rule in rules(documents, workload, "Egress"):
            for peer in rule["to"]:
                space = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                if "ipBlock" in peer:
                    space = "internet"
                elif space is None:
                    continue
                allowed |= {(space, port) for port in ports(rule)}
        for missing in sorted(wanted - allowed):
            yield f"{name}: no policy lets it reach {missing}"
        for needless in sorted(allowed - wanted - {("kube-system", ("TCP", 53))}):
            yield f"{name}: a policy lets it reach {needless}, which its configuration does not name"


def names_on_kafka():
    """Topics by the bus and groups by the stages, as the code says them; keys are stage names."""
    topics = set(re.findall(r'"(hubwarden\.[\w.]+\.v\d+)"', (settings.ROOT / "crates/bus/src/topic.rs").read_text()))
    stages = set()
    for file in settings.ROOT.glob("crates/*/src/*.rs"):
        stages |= set(re.findall(r'const (?:\w+_)?STAGE: &str = "(\w+)"', file.read_text()))
    return topics, stages


def scaling(documents):
    """Stages that may scale by lag do, by a group and a topic that exist, within the partitions."""
    topics, stages = names_on_kafka()
    found = {name: (workload, pod) for name, workload, pod in workloads(documents)}
    scaled = of(documents, "ScaledObject")
    for document in scaled:
        name = document["metadata"]["name"]
        target = document["spec"]["scaleTargetRef"]["name"]
        if target not in ("hubwarden-normalizer", "hubwarden-match"):
            yield f"{name}: {target} must not scale by lag: it would move state or ownership"
            continue
        workload, _ = found[target]
        if "replicas" in workload["spec"]:
            yield f"{target}: a fixed number of replicas would fight the autoscaler"
        values = settings.effective(*mounted(documents, workload))
        partitions = values.get("bus.kafka.partitions", settings.default("normalizer", "bus.kafka.partitions"))
        if document["spec"]["maxReplicaCount"] > partitions:
            yield f"{name}: more replicas than the {partitions} partitions"
        for trigger in document["spec"]["triggers"]:
            meta = trigger["metadata"]
            if meta.get("topic") not in topics:
                yield f"{name}: there is no topic {meta.get('topic')}"
            if meta.get("consumerGroup", "").removeprefix("hubwarden.") not in stages:
                yield f"{name}: there is no group {meta.get('consumerGroup')}"
            if set(meta["bootstrapServers"].split(",")) != set(values["bus.kafka.brokers"]):
                yield f"{name}: asks other brokers than the services"
            if not meta.get("lagThreshold", "").isdigit() or meta.get("limitToPartitionsWithLag") != "true":
                yield f"{name}: lagThreshold or limitToPartitionsWithLag is missing"
            secured = any(path.startswith("bus.kafka.sasl") for path in values)
            reference = trigger.get("authenticationRef", {}).get("name")
            if secured != (reference in [document["metadata"]["name"] for document in of(documents, "TriggerAuthentication")]):
                yield f"{name}: signs in to Kafka otherwise than the services"
        down = document["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        if down["stabilizationWindowSeconds"] < 300:
            yield f"{name}: scales down within five minutes"


ALL = [denied, entrances, exits, scaling]
