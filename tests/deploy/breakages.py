"""One fault or more for each check, so that no check passes by seeing nothing.

A fault gets the documents by (kind, name) and as a list; beside it stands the check that must find it.
"""

MATCH = ("Deployment", "hubwarden-match")
COLLECTOR = ("StatefulSet", "hubwarden-collector")
CORRELATE = ("StatefulSet", "hubwarden-correlate")


def pod(at, key=MATCH):
    return at[key]["spec"]["template"]["spec"]


def container(at, key=MATCH):
    return pod(at, key)["containers"][0]


def policy(at, name):
    return at[("NetworkPolicy", f"hubwarden-{name}")]["spec"]


def trigger(at, **values):
    at[("ScaledObject", "hubwarden-match")]["spec"]["triggers"][0]["metadata"].update(values)


def config(at, name, old, new):
    for (kind, found), document in at.items():
        if kind == "ConfigMap" and found.startswith(f"hubwarden-{name}"):
            for key, text in document["data"].items():
                assert old in text or "toml" not in key, f"{found} does not hold {old}"
                document["data"][key] = text.replace(old, new)


BREAKAGES = {
    "no limit of memory": (lambda at, all: container(at)["resources"]["limits"].pop("memory"), "resources"),
    "a probe at another port": (lambda at, all: container(at)["readinessProbe"]["httpGet"].update(port="grpc"), "probes"),
    "no probe of being alive": (lambda at, all: container(at).pop("livenessProbe"), "probes"),
    "a root that can be written to": (lambda at, all: container(at)["securityContext"].pop("readOnlyRootFilesystem"), "restricted"),
    "a capability": (lambda at, all: container(at)["securityContext"]["capabilities"].update(add=["NET_RAW"]), "restricted"),
    "a folder of the node": (lambda at, all: pod(at)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "restricted"),
    "service links": (lambda at, all: pod(at).pop("enableServiceLinks"), "restricted"),
    "a namespace that enforces less": (
        lambda at, all: at[("Namespace", "hubwarden")]["metadata"]["labels"].update({"pod-security.kubernetes.io/enforce": "baseline"}), "restricted"),
    "a shared service account": (lambda at, all: pod(at).update(serviceAccountName="hubwarden-console"), "rights"),
    "a role": (lambda at, all: all.append({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}), "rights"),
    "an image without version": (lambda at, all: container(at).update(image="hubwarden/detector:latest"), "images"),
    "killed before grace is over": (lambda at, all: pod(at).update(terminationGracePeriodSeconds=10), "stopping"),
    "not spread over zones": (lambda at, all: pod(at)["topologySpreadConstraints"].pop(0), "spread"),
    "no disruption budget": (lambda at, all: all.remove(at[("PodDisruptionBudget", "hubwarden-match")]), "spread"),
    "a service that selects nothing": (lambda at, all: at[("Service", "hubwarden-match")]["spec"].update(selector={"app": "x"}), "services"),
    "a stateful set without headless service": (lambda at, all: at[("Service", "hubwarden-correlate")]["spec"].pop("clusterIP"), "services"),
    "a port that is not scraped": (
        lambda at, all: at[("ServiceMonitor", "hubwarden")]["spec"]["endpoints"][0].update(port="grpc"), "services"),
    "a secret that no document tells": (
        lambda at, all: pod(at, COLLECTOR)["volumes"].append({"name": "x", "secret": {"secretName": "hubwarden-untold"}}), "references"),
    "a config map that is not rendered": (
        lambda at, all: [all.remove(document) for document in list(all) if document["metadata"]["name"].startswith("hubwarden-common")], "references"),
    "an unknown key": (lambda at, all: config(at, "detector-", "snapshot_every", "snapshots_every"), "configuration"),
    "an unknown key in the environment": (
        lambda at, all: container(at)["env"].append({"name": "HUBWARDEN__BUS__KAFKA__BROKER", "value": "x"}), "configuration"),
    "a certificate that is not mounted": (
        lambda at, all: [container(at)["volumeMounts"].remove(mount) for mount in list(container(at)["volumeMounts"]) if mount["name"] == "tls"], "configuration"),
    "another port than the configuration's": (lambda at, all: container(at)["ports"][0].update(containerPort=7575), "configuration"),
    "no default": (lambda at, all: all.remove(at[("NetworkPolicy", "hubwarden-default-deny")]), "denied"),
    "an egress rule to everybody": (lambda at, all: policy(at, "kafka")["egress"][0].pop("to"), "denied"),
    "a port in no policy": (lambda at, all: container(at)["ports"].append({"name": "x", "containerPort": 8080}), "entrances"),
    "a policy for a port where nothing listens": (
        lambda at, all: policy(at, "grpc")["ingress"][0]["ports"].append({"port": 8080}), "entrances"),
    "brokers that no policy lets reach": (lambda at, all: policy(at, "kafka")["egress"][0]["ports"][0].update(port=9092), "exits"),
    "a way out that nothing needs": (
        lambda at, all: policy(at, "console")["podSelector"].update(matchLabels={"app.kubernetes.io/part-of": "hubwarden"}), "exits"),
    "a topic that does not exist": (lambda at, all: trigger(at, topic="hubwarden.event.v1"), "scaling"),
    "a group that does not exist": (lambda at, all: trigger(at, consumerGroup="hubwarden.matcher"), "scaling"),
    "more replicas than partitions": (
        lambda at, all: at[("ScaledObject", "hubwarden-match")]["spec"].update(maxReplicaCount=13), "scaling"),
    "a correlator that scales by lag": (
        lambda at, all: at[("ScaledObject", "hubwarden-match")]["spec"]["scaleTargetRef"].update(name="hubwarden-correlate"), "scaling"),
    "a fixed number beside the autoscaler": (lambda at, all: at[MATCH]["spec"].update(replicas=2), "scaling"),
    "an autoscaler that does not sign in": (
        lambda at, all: at[("ScaledObject", "hubwarden-match")]["spec"]["triggers"][0].pop("authenticationRef"), "scaling"),
}

# The same for docker-compose.yml: a fault gets the services by name.
COMPOSE_BREAKAGES = {
    "a service that always starts": (lambda at: at["grafana"].pop("profiles"), "profiles"),
    "a root that can be written to": (lambda at: at["grafana"].pop("read_only"), "contained"),
    "a port open to all": (lambda at: at["console"]["ports"][0].pop("host_ip"), "contained"),
    "a capability": (lambda at: at["detector"].update(cap_add=["NET_ADMIN"]), "contained"),
    "a container as root": (lambda at: at["postgres"].pop("user"), "contained"),
    "an image without version": (lambda at: at["postgres"].update(image="postgres:latest"), "pinned"),
    "no health check": (lambda at: at["detector"].pop("healthcheck"), "healthy"),
    "a start before the broker is healthy": (
        lambda at: at["console"]["depends_on"]["kafka"].update(condition="service_started"), "healthy"),
    "a volume that is not declared": (lambda at: at["grafana"]["volumes"][-1].update(source="grafanas"), "sources"),
    "a key that no service has": (
        lambda at: at["console"]["environment"].update(HUBWARDEN__STORE__PATH="x"), "configuration"),
    "a secret that is not set": (lambda at: at["console"]["environment"].pop("STORE_URL"), "configuration"),
    "brokers that one profile lacks": (lambda at: at["kafka"].update(profiles=["other"]), "configuration"),
    "killed before grace is over": (lambda at: at["console"].update(stop_grace_period="10s"), "configuration"),
    "snapshots beside the state": (
        lambda at: [volume.update(source="hubwarden_detector") for volume in at["detector"]["volumes"] if volume["type"] == "volume"], "same_snapshots"),
    "a service that is not scraped": (lambda at: at.pop("otel-collector"), "scraped"),
    "alert rules that are not mounted": (lambda at: at["prometheus"]["volumes"].pop(1), "provisioned"),
    "dashboards that are not mounted": (lambda at: at["grafana"]["volumes"].pop(2), "provisioned"),
}
