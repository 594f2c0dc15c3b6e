"""All checks of k8s/, docker-compose.yml and the Dockerfile; the folder of tools is the argument.

Each check prints one line; what could not be carried out here is printed as skipped, with the reason.
"""

import copy
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap

import compose
import kubernetes
import network
import settings
import yaml
from breakages import BREAKAGES, COMPOSE_BREAKAGES

TOOLS = pathlib.Path(sys.argv[1])
OVERLAYS = ("small", "production")
# The oldest and the newest Kubernetes that is promised.
VERSIONS = ("v1.30.0", "v1.37.0")
# Types of operators; the checker `crd` reads them instead.
CUSTOM = "ScaledObject,TriggerAuthentication,ServiceMonitor"
count = {"passed": 0, "failed": 0, "skipped": 0}


def report(name, wrong):
    wrong = list(wrong)
    count["failed" if wrong else "passed"] += 1
    print(f"{'FAILED' if wrong else 'ok'}: {name}")
    for line in wrong:
        print(f"    {line}")


def skip(name, reason):
    count["skipped"] += 1
    print(f"skipped: {name}: {reason}")


def call(*command, given=None, **options):
    """The output of a tool as what is wrong; nothing when it ends well."""
    said = subprocess.run([str(part) for part in command], input=given, capture_output=True, text=True, **options)
    return [] if said.returncode == 0 else (said.stdout + said.stderr).strip().splitlines()[:20]


def overlays():
    for overlay in OVERLAYS:
        built = subprocess.run([TOOLS / "kustomize", "build", settings.ROOT / "k8s/overlays" / overlay],
                               capture_output=True, text=True)
        report(f"{overlay}: kustomize renders it without a warning", built.stderr.strip().splitlines())
        if built.returncode:
            continue
        for version in VERSIONS:
            schemas = f"{TOOLS}/schemas/{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
            report(f"{overlay}: every field is known to Kubernetes {version[1:]} (kubeconform, strict)",
                   call(TOOLS / "kubeconform", "-strict", "-skip", CUSTOM, "-schema-location", schemas, given=built.stdout))
        report(f"{overlay}: custom resources fit the operators' own types", call(TOOLS / "crd", given=built.stdout))
        documents = list(yaml.safe_load_all(built.stdout))
        for check in kubernetes.ALL + network.ALL:
            report(f"{overlay}: {check.__module__}.{check.__name__}", check(documents))
        for name, workload, pod in kubernetes.workloads(documents):
            service = kubernetes.service_of(workload)
            programs(f"{overlay}: {name}", service, *kubernetes.mounted(documents, workload),
                     pod["containers"][0].get("args", []))
        if overlay == "production":
            breakages(documents)


def programs(name, service, files, environment, arguments):
    """What only the built program can say: whether it takes the configuration and the flags."""
    said = settings.judged(service, files, environment)
    if said is None:
        skip(f"{name}: --check of hubwarden-{service}", "it is not built")
        return
    report(f"{name}: hubwarden-{service} --check takes the configuration", said)
    report(f"{name}: hubwarden-{service} knows the flags", settings.flags(service, arguments))
    wrong = files | {"conf.d/99-wrong.toml": "[health]\nlistens = 1\n"}
    report(f"{name}: hubwarden-{service} --check refuses an unknown key",
           [] if any("health.listens" in line for line in settings.judged(service, wrong, environment)) else ["it takes it"])


def breakages(documents):
    """Each check is shown one fault that it must find."""
    checks = {check.__name__: check for check in kubernetes.ALL + network.ALL}
    for name, (breaks, fault) in BREAKAGES.items():
        broken = copy.deepcopy(documents)
        breaks({(document["kind"], document["metadata"]["name"]): document for document in broken}, broken)
        found = list(checks[fault](broken))
        report(f"check {fault} finds: {name}", [] if found else ["it finds nothing"])
    unproved = checks.keys() - {fault for _, fault in BREAKAGES.values()}
    report("every check is shown a fault", sorted(unproved))


def composed():
    project = compose.load(TOOLS)
    report("docker-compose.yml: Docker Compose's loader takes it", [])
    for check in compose.ALL:
        report(f"docker-compose.yml: {check.__name__}", check(project))
    for service in compose.APPS:
        arguments = [part for part in project["services"][service]["healthcheck"]["test"] if part.startswith("--")]
        programs(f"docker-compose.yml: {service}", service, compose.files(project, service),
                 compose.environment(project, service), arguments)
    with tempfile.TemporaryDirectory() as folder:
        text = (settings.ROOT / "docker-compose.yml").read_text()
        for fault, (old, new) in {"an unknown key": ("cap_drop:", "cap_drops:"),
                                  "a number that is none": ("pids_limit: 512", "pids_limit: many")}.items():
            (pathlib.Path(folder) / "docker-compose.yml").write_text(text.replace(old, new))
            try:
                compose.load(TOOLS, root=folder)
                report(f"the loader of compose files refuses {fault}", ["it takes it"])
            except ValueError:
                report(f"the loader of compose files refuses {fault}", [])
    for fault, (breaks, check) in COMPOSE_BREAKAGES.items():
        broken = copy.deepcopy(project)
        breaks(broken["services"])
        found = list(next(of for of in compose.ALL if of.__name__ == check)(broken))
        report(f"docker-compose.yml: {check} finds: {fault}", [] if found else ["it finds nothing"])
    unproved = {check.__name__ for check in compose.ALL} - {check for _, check in COMPOSE_BREAKAGES.values()}
    report("docker-compose.yml: every check is shown a fault", sorted(unproved))


def parts():
    """The configuration of what is not ours, by its own programs."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", settings.ROOT / "target")).resolve()
    promtool = shutil.which("promtool") or next(target.glob("tools/prometheus/usr/bin/promtool"), None)
    if promtool:
        text = (settings.ROOT / "config/compose/prometheus.yml").read_text()
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(text.replace("/etc/prometheus/alerts", str(settings.ROOT / "dashboards/alerts")))
            file.flush()
            report("promtool takes prometheus.yml with the alert rules", call(promtool, "check", "config", file.name))
    else:
        skip("promtool check config", "promtool is not here (scripts/promtool.sh)")
    collector = next(target.glob("tools/otelcol-*/otelcol"), None)
    if collector:
        report("the OpenTelemetry Collector takes otel-collector.yaml",
               call(collector, "validate", "--config", settings.ROOT / "config/compose/otel-collector.yaml"))
    else:
        skip("otelcol validate", "the collector is not built (scripts/otelcol.sh)")
    jars = next(target.glob("tools/kafka-*/libs"), None)
    if jars and shutil.which("java"):
        report("a real broker starts by kafka.sh and takes topics of 12 partitions",
               call(settings.ROOT / "tests/deploy/broker.sh", jars))
    else:
        skip("a broker by kafka.sh", "Kafka is not here (scripts/kafka.sh)")
    rule = subprocess.run([settings.ROOT / "scripts/prometheus-rule.sh"], capture_output=True, text=True)
    report("prometheus-rule.sh writes a PrometheusRule of the operator's own type", call(TOOLS / "crd", given=rule.stdout))
    written = yaml.safe_load(rule.stdout)["spec"]["groups"]
    files = [yaml.safe_load(path.read_text())["groups"] for path in sorted((settings.ROOT / "dashboards/alerts").glob("*.yml"))]
    report("prometheus-rule.sh leaves out no rule", [] if written == sum(files, []) else ["groups differ"])


def images():
    """What can be said of the Dockerfile without building; tests/deploy/image.py builds."""
    text = (settings.ROOT / "Dockerfile").read_text()
    targets = set(re.findall(r"FROM scratch AS (\w+)", text))
    project = compose.load(TOOLS)
    built = {service["build"]["target"] for service in project["services"].values() if "build" in service}
    report("docker-compose.yml builds targets of the Dockerfile", built - targets)
    report("every target runs as user 65532",
           [] if text.count("USER 65532:65532") == len(targets) else ["a target has no USER"])
    report("the base image is pinned to the toolchain of the repository",
           [] if re.search(r'channel = "([\d.]+)"', (settings.ROOT / "rust-toolchain.toml").read_text())[1]
           == re.search(r"FROM rust:([\d.]+)-", text)[1] else ["versions differ"])
    for service in compose.APPS:
        ports = set(re.search(rf"AS {service}\n(?:.*\n)*?EXPOSE (.*)", text)[1].split())
        listens = {str(value).rpartition(":")[2] for path, value in settings.leaves(settings.example(service)) if path.endswith(".listen")}
        report(f"the image of {service} exposes what it listens on", [] if ports == listens else [f"{ports} and {listens}"])


def own_overlay():
    """The overlay that docs/kubernetes.md shows renders, and its files are what pods see."""
    text = (settings.ROOT / "docs/kubernetes.md").read_text()
    shown = re.search(r"```yaml\n( +# kustomization\.yaml\n.*?)```", text, re.S)[1].replace("sha256:…", "sha256:" + "0" * 64)
    connections = re.search(r"```toml\n( +\[\[github\]\].*?)```", text, re.S)[1]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder).resolve()
        ours = os.path.relpath(settings.ROOT, folder)
        (folder / "kustomization.yaml").write_text(textwrap.dedent(shown).replace("../hubwarden/", f"{ours}/"))
        (folder / "connections.toml").write_text(textwrap.dedent(connections))
        shutil.copy(settings.ROOT / "k8s/overlays/production/common.toml", folder)
        detector = (settings.ROOT / "k8s/base/config/detector.toml").read_text()
        (folder / "detector.toml").write_text(detector.replace("s3://hubwarden-snapshots/state", "s3://ours/state"))
        built = subprocess.run([TOOLS / "kustomize", "build", folder], capture_output=True, text=True)
    report("docs/kubernetes.md: the overlay of one's own renders", built.stderr.strip().splitlines())
    documents = list(yaml.safe_load_all(built.stdout))
    seen = {name: (workload, kubernetes.mounted(documents, workload)) for name, workload, _ in kubernetes.workloads(documents)}
    wrong = []
    if "conf.d/30-connections.toml" not in seen["hubwarden-collector"][1][0]:
        wrong.append("the collector does not see the connections")
    if settings.effective(*seen["hubwarden-correlate"][1])["state.snapshots"] != "s3://ours/state":
        wrong.append("correlate does not see its own settings")
    for name, (workload, (files, environment)) in seen.items():
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        if not image.startswith("registry.example.com/hubwarden-") or "@sha256:" not in image:
            wrong.append(f"{name}: image {image}")
        service = re.search(r"hubwarden-(\w+)@", image)[1]
        wrong += settings.unknown(service, files, environment)
    report("docs/kubernetes.md: pods see what the overlay sets", wrong)


def documents():
    """What the docs name exists."""
    topics, stages = network.names_on_kafka()
    acl = (settings.ROOT / "docs/kafka-acl.md").read_text()
    report("docs/kafka-acl.md names every topic and every group", sorted(
        name for name in topics | {f"hubwarden.{stage}" for stage in stages} if f"`{name}`" not in acl))
    commands = re.search(r"```sh\n(.*?)```", acl, re.S)[1]
    table = {user: (set(re.findall(r"`(hubwarden\.[\w.]+\.v1)`", reads)), set(re.findall(r"`(hubwarden\.[\w.]+\.v1)`", writes)))
             for user, reads, writes in re.findall(r"\| `hubwarden-(\w+)` \| (.*?) \| (.*?) \|", acl)}
    given = {}
    for verb, user, names in re.findall(r"(reads|writes) (\w+) ([\w. ]+);?", commands):
        given.setdefault(user, {})[verb] = {f"hubwarden.{name}.v1" for name in names.split()}
    report("docs/kafka-acl.md: the commands give what the table says", [
        f"{user}: {reads | writes}" for user, (reads, writes) in table.items() if user != "keda"
        and (reads, writes) != (given.get(user, {}).get("reads", set()), given.get(user, {}).get("writes", set()))])
    pages = ("kubernetes", "compose", "sizing", "capacity", "kafka-acl", "disaster-recovery")
    report("links of these pages lead somewhere", [
        f"{page}.md: {link}" for page in pages
        for link in re.findall(r"\]\(([^)#:]+)\)", (settings.ROOT / f"docs/{page}.md").read_text())
        if not (settings.ROOT / "docs" / link).exists()])


for part in (overlays, own_overlay, composed, parts, images, documents):
    part()
print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
sys.exit(1 if count["failed"] else 0)
