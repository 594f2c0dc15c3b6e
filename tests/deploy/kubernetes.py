"""Checks of what an overlay of k8s/ renders to: a list of documents in, what is wrong out."""

import re

import settings

KINDS = ("Deployment", "StatefulSet")
# Made by the operator, told in docs/kubernetes.md; everything else must be rendered.
OUTSIDE_CONFIGS = {"hubwarden-connections", "hubwarden-rules"}
RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral",
                      "persistentVolumeClaim", "projected", "secret"}


def of(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def workloads(documents):
    for document in of(documents, *KINDS):
        yield document["metadata"]["name"], document, document["spec"]["template"]["spec"]


def containers(documents):
    for name, _, pod in workloads(documents):
        for container in pod["containers"] + pod.get("initContainers", []):
            yield f"{name}/{container['name']}", container


def labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def selects(selector, found):
    return all(found.get(key) == value for key, value in selector.get("matchLabels", selector).items())


def service_of(workload):
    """Which program a workload runs, as config/SERVICE.toml calls it."""
    image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return re.search(r"/(\w+)[:@]", image)[1]


def resources(documents):
    for name, container in containers(documents):
        for side in ("requests", "limits"):
            for what in ("cpu", "memory"):
                if what not in container.get("resources", {}).get(side, {}):
                    yield f"{name}: no {side} of {what}"


def probes(documents):
    for name, container in containers(documents):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            get = container.get(probe, {}).get("httpGet", {})
            if get.get("path") != path or ports.get(get.get("port"), get.get("port")) != 7476:
                yield f"{name}: {probe} does not ask {path} at 7476"


def restricted(documents):
    """The profile `restricted` of Pod Security, and a root that nobody writes to."""
    for name, workload, pod in workloads(documents):
        context = pod.get("securityContext", {})
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield f"{name}: {key}"
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 65532:
            yield f"{name}: not as user 65532"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name}: no seccomp profile"
        for volume in pod.get("volumes", []):
            if not RESTRICTED_VOLUMES & volume.keys():
                yield f"{name}: volume {volume['name']} is of a kind that is not allowed"
        if pod.get("automountServiceAccountToken") is not False or pod.get("enableServiceLinks") is not False:
            yield f"{name}: a token or service links are put into the pod"
    for name, container in containers(documents):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            yield f"{name}: may gain privileges"
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: its root can be written to"
        if context.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name}: keeps capabilities"
    spaces = of(documents, "Namespace")
    if not spaces or any(space["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted" for space in spaces):
        yield "the namespace does not enforce Pod Security restricted"


def rights(documents):
    """One service account each, and no rights anywhere."""
    accounts = {document["metadata"]["name"]: document for document in of(documents, "ServiceAccount")}
    used = [pod.get("serviceAccountName") for _, _, pod in workloads(documents)]
    if sorted(used, key=str) != sorted(accounts):
        yield f"service accounts {sorted(accounts)} are not one for each workload: {used}"
    for name, account in accounts.items():
        if account.get("automountServiceAccountToken") is not False:
            yield f"{name}: its token is handed out"
    for document in documents:
        if document["apiVersion"].startswith("rbac."):
            yield f"{document['kind']} {document['metadata']['name']} gives rights in the cluster"


def images(documents):
    for name, container in containers(documents):
        if not re.search(r"(:v?\d[\w.-]*|@sha256:[0-9a-f]{64})$", container["image"]):
            yield f"{name}: image {container['image']} is not pinned"


def stopping(documents):
    """The time to stop is longer than what the service takes for itself."""
    for name, workload, pod in workloads(documents):
        service = service_of(workload)
        files, environment = mounted(documents, workload)
        values = settings.effective(files, environment)
        grace = int(values.get("server.grace_s", settings.default(service, "server.grace_s")))
        hook = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod.get("terminationGracePeriodSeconds", 30) < grace + hook + 15:
            yield f"{name}: is killed {pod.get('terminationGracePeriodSeconds', 30)} s after it is told to stop, grace is {grace} s"


def spread(documents):
    for name, workload, pod in workloads(documents):
        keys = {rule["topologyKey"] for rule in pod.get("topologySpreadConstraints", [])
                if selects(rule["labelSelector"], labels(workload))}
        if not {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} <= keys:
            yield f"{name}: not spread over nodes and zones"
        budgets = [budget for budget in of(documents, "PodDisruptionBudget")
                   if selects(budget["spec"]["selector"], labels(workload))]
        if len(budgets) != 1:
            yield f"{name}: {len(budgets)} disruption budgets"


def services(documents):
    """Every service finds its pods and their ports; metrics can be scraped from each."""
    all_labels = [(labels(workload), pod) for _, workload, pod in workloads(documents)]
    names = {service["metadata"]["name"]: service for service in of(documents, "Service")}
    for name, service in names.items():
        pods = [pod for found, pod in all_labels if selects(service["spec"]["selector"], found)]
        if len(pods) != 1:
            yield f"{name}: selects {len(pods)} workloads"
            continue
        offered = {port["name"] for port in pods[0]["containers"][0]["ports"]}
        wanted = {port["targetPort"] for port in service["spec"]["ports"]}
        if offered != wanted:
            yield f"{name}: offers {sorted(wanted)} of {sorted(offered)}"
    for name, workload, _ in workloads(documents):
        if name not in names:
            yield f"{name}: no service of that name"
        elif workload["kind"] == "StatefulSet" and names.get(workload["spec"]["serviceName"], {}).get("spec", {}).get("clusterIP") != "None":
            yield f"{name}: its service is not headless"
    for monitor in of(documents, "ServiceMonitor"):
        for name, service in names.items():
            scraped = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
            if not selects(monitor["spec"]["selector"], service["metadata"]["labels"]) or scraped != {"health"}:
                yield f"{name}: its health port is not scraped"


def mounted(documents, workload):
    """The configuration files that a workload sees below /etc/hubwarden, and its environment."""
    maps = {document["metadata"]["name"]: document.get("data", {}) for document in of(documents, "ConfigMap")}
    pod = workload["spec"]["template"]["spec"]
    files = {}
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            data = maps.get(source["configMap"]["name"], {})
            for item in source["configMap"].get("items", []):
                if item["key"] in data:
                    files[item["path"]] = data[item["key"]]
    environment = {entry["name"]: entry.get("value", "pod-0") for entry in pod["containers"][0].get("env", [])}
    return files, environment


def references(documents):
    """Every ConfigMap that is mounted is rendered, or told in the docs; likewise Secrets."""
    maps = {document["metadata"]["name"] for document in of(documents, "ConfigMap")}
    docs = (settings.ROOT / "docs/kubernetes.md").read_text()
    for name, _, pod in workloads(documents):
        for volume in pod["volumes"]:
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            for config in (source["configMap"]["name"] for source in sources if "configMap" in source):
                if config not in maps | OUTSIDE_CONFIGS or (config not in maps and config not in docs):
                    yield f"{name}: ConfigMap {config} is neither rendered nor told in docs/kubernetes.md"
            secret = volume.get("secret", {}).get("secretName")
            told = secret and (secret in docs or re.sub(r"hubwarden-\w+-(tls|kafka)", r"hubwarden-SERVICE-\1", secret) in docs)
            if secret and not told:
                yield f"{name}: Secret {secret} is not told in docs/kubernetes.md"
        mounts = pod["containers"][0]["volumeMounts"]
        if {mount["name"] for mount in mounts} - {volume["name"] for volume in pod["volumes"]} not in (set(), {"data"}):
            yield f"{name}: mounts a volume that is not there"


def configuration(documents):
    """Every key exists, and every file that a key names lies in a volume that is mounted."""
    for name, workload, pod in workloads(documents):
        service = service_of(workload)
        files, environment = mounted(documents, workload)
        if f"{service}.toml" not in files:
            yield f"{name}: its configuration is not mounted"
        yield from (f"{name}: {wrong}" for wrong in settings.unknown(service, files, environment))
        values = settings.effective(files, environment)
        places = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        for path, value in values.items():
            for place in re.findall(r"/(?:etc|var)/[\w/.-]+", str(value)):
                if not any(f"{place}/".startswith(f"{mount}/") for mount in places):
                    yield f"{name}: {path} names {place}, where nothing is mounted"
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        listens = {"grpc": "grpc.listen", "health": "health.listen", "http": "web.listen"}
        for port, number in ports.items():
            if str(values.get(listens[port], "")).rpartition(":")[2] != str(number):
                yield f"{name}: port {port} is {number}, {listens[port]} is {values.get(listens[port])}"


ALL = [resources, probes, restricted, rights, images, stopping, spread, services, references, configuration]
