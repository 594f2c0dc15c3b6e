"""Checks of docker-compose.yml as Docker Compose's own loader understands it."""

import json
import re
import subprocess

import settings
import yaml

APPS = ("collector", "normalizer", "detector", "console")
# Their images hold no program that could ask, or what they do is asked of another service.
WITHOUT_HEALTHCHECK = {"otel-collector", "simulator"}
PROFILES = {"kafka", "kafka3", "postgres", "observability", "apps", "simulator"}


def load(tools, file="docker-compose.yml", root=settings.ROOT):
    said = subprocess.run([tools / "compose", "-format", "json", file], cwd=root, capture_output=True, text=True)
    if said.returncode:
        raise ValueError(said.stderr.strip() or said.stdout.strip())
    return json.loads(said.stdout)


def profiles(project):
    used = {profile for service in project["services"].values() for profile in service.get("profiles", [])}
    if used != PROFILES:
        yield f"profiles are {sorted(used)}"
    for name, service in project["services"].items():
        if not service.get("profiles"):
            yield f"{name}: would start with every profile"


def contained(project):
    """No container writes to its root, has capabilities, runs as root or is reached from outside."""
    for name, service in project["services"].items():
        if not service.get("read_only"):
            yield f"{name}: its root can be written to"
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add") or service.get("privileged"):
            yield f"{name}: keeps capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name}: may gain privileges"
        if str(service.get("user", "0")).split(":")[0] in ("0", "root", ""):
            yield f"{name}: runs as root"
        if service.get("network_mode") == "host" or service.get("pid") or service.get("ipc"):
            yield f"{name}: shares the machine's namespaces"
        if not service.get("mem_limit"):
            yield f"{name}: no limit of memory"
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name}: publishes {port['target']} beyond loopback"
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and not volume.get("read_only"):
                yield f"{name}: may write to {volume['source']}"
            if "docker.sock" in volume.get("source", ""):
                yield f"{name}: holds the engine's socket"


def pinned(project):
    for name, service in project["services"].items():
        if not re.search(r"(:v?\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})$", service["image"]):
            yield f"{name}: image {service['image']} is not pinned"


def healthy(project):
    for name, service in project["services"].items():
        check = service.get("healthcheck", {})
        if name in WITHOUT_HEALTHCHECK:
            continue
        if not check.get("test") or check.get("disable"):
            yield f"{name}: no health check"
        for depends, how in service.get("depends_on", {}).items():
            if how["condition"] != "service_healthy":
                yield f"{name}: starts before {depends} is healthy"


def files(project, name):
    """Configuration files of a service below /etc/hubwarden."""
    found = {}
    for volume in project["services"][name].get("volumes", []):
        if volume["type"] == "bind" and volume["target"].startswith("/etc/hubwarden/"):
            found[volume["target"].removeprefix("/etc/hubwarden/")] = open(volume["source"]).read()
    return found


def environment(project, name):
    return {key: value or "" for key, value in project["services"][name].get("environment", {}).items()}


def sources(project):
    """Every file and folder that is mounted exists, every volume is declared and used."""
    used = set()
    for name, service in project["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                path = settings.pathlib.Path(volume["source"])
                if not path.exists():
                    yield f"{name}: {path.relative_to(settings.ROOT)} does not exist"
            else:
                used.add(volume["source"])
    if used != set(project["volumes"]):
        yield f"volumes declared and not used, or the other way: {used ^ set(project['volumes'])}"


def configuration(project):
    for name in APPS:
        yield from (f"{name}: {wrong}" for wrong in settings.unknown(name, files(project, name), environment(project, name)))
        values = settings.effective(files(project, name), environment(project, name))
        for broker in values["bus.kafka.brokers"]:
            host = broker.rsplit(":", 1)[0]
            reached = {profile for other, service in project["services"].items() for profile in service.get("profiles", [])
                       if other == host or host in ((service.get("networks") or {}).get("default") or {}).get("aliases", [])}
            if not {"kafka", "kafka3"} <= reached:
                yield f"{name}: nobody is {host} in the profiles kafka and kafka3"
        for path, value in values.items():
            if path.endswith(".env") and value not in environment(project, name):
                yield f"{name}: {path} names {value}, which is not set"
        grace = settings.default(name, "server.grace_s")
        stop = project["services"][name].get("stop_grace_period", "10s")
        minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", stop).groups()
        if 60 * int(minutes or 0) + int(seconds or 0) < grace + 15:
            yield f"{name}: is killed {stop} after it is told to stop"


def same_snapshots(project):
    """Snapshots do not lie on the volume whose loss they are for."""
    values = settings.effective(files(project, "detector"), environment(project, "detector"))
    place = values["state.snapshots"].removeprefix("file://")
    at = {volume["target"]: volume["source"] for volume in project["services"]["detector"]["volumes"]}
    if place not in at or at[place] == at.get(values["state.dir"]):
        yield f"snapshots go to {place}, which is no volume of its own"


def scraped(project):
    """Prometheus asks exactly the four services, under the names that dashboards and alerts know."""
    config = yaml.safe_load((settings.ROOT / "config/compose/prometheus.yml").read_text())
    targets = {job["job_name"]: [target for static in job["static_configs"] for target in static["targets"]]
               for job in config["scrape_configs"]}
    ours = {job: where for job, where in targets.items() if job.startswith("hubwarden")}
    if ours != {f"hubwarden-{name}": [f"{name}:7476"] for name in APPS}:
        yield f"scrapes {ours}"
    for job, where in targets.items():
        for target in where:
            if target.split(":")[0] not in project["services"]:
                yield f"{job}: there is no {target}"


def provisioned(project):
    """The alert rules and dashboards of the repository are what Prometheus and Grafana load."""
    at = {(name, volume["target"]): volume["source"] for name, service in project["services"].items()
          for volume in service.get("volumes", [])}
    rules = yaml.safe_load((settings.ROOT / "config/compose/prometheus.yml").read_text())["rule_files"]
    folder = rules[0].rpartition("/")[0]
    if at.get(("prometheus", folder)) != str(settings.ROOT / "dashboards/alerts"):
        yield f"Prometheus loads {rules}, where dashboards/alerts is not mounted"
    if not list((settings.ROOT / "dashboards/alerts").glob("*.yml")):
        yield "dashboards/alerts holds no rules"
    provider = yaml.safe_load((settings.ROOT / "config/compose/grafana-dashboards.yaml").read_text())["providers"][0]
    if at.get(("grafana", provider["options"]["path"])) != str(settings.ROOT / "dashboards"):
        yield f"Grafana loads {provider['options']['path']}, where dashboards is not mounted"
    rendered = yaml.safe_load((settings.ROOT / "dashboards/kustomization.yaml").read_text())["configMapGenerator"]
    listed = sorted(file for config in rendered for file in config["files"])
    if listed != sorted(path.name for path in (settings.ROOT / "dashboards").glob("*.json")):
        yield f"dashboards/kustomization.yaml lists {listed}"


ALL = [profiles, contained, pinned, healthy, sources, configuration, same_snapshots, scraped, provisioned]
