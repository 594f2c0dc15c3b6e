"""What configuration keys exist, and what a deployment sets.

The keys are those of config/SERVICE.toml, where every key stands, behind `# ` with its default or
behind `#   ` as an example. Where a service's program is built, its own `--check` decides beside that.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Sections whose keys the operator invents.
FREE = {"networks", "lists", "tokens", "grpc.peers"}


def example(service):
    """The example of a service with every key in force."""
    lines = (ROOT / f"config/{service}.toml").read_text().splitlines()
    known = re.compile(r'# (?:  )?(\[\[?[\w.]+\]\]?|"?[\w.-]+"? = .*)$')
    return tomllib.loads("\n".join(m[1] if (m := known.match(line)) else line for line in lines))


def leaves(value, path=""):
    """Every key below a table with its dotted path; an array of tables counts as one table."""
    if isinstance(value, dict):
        for key, below in value.items():
            inner = f"{path}.{key}" if path else key
            if inner in FREE:
                yield inner, below
            else:
                yield from leaves(below, inner)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


def keys(service):
    return {path for path, _ in leaves(example(service))} | FREE


def default(service, path):
    """The default that the example tells."""
    return dict(leaves(example(service)))[path]


def secret(path):
    """A secret is told by `file` or `env`, whatever the example shows."""
    return re.sub(r"\.(file|env)$", "", path)


def unknown(service, files, environment):
    """Keys that no service has, in files (name to text) and in the environment."""
    known = {secret(path) for path in keys(service)}
    wrong = []
    for name, text in files.items():
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            wrong.append(f"{name}: {error}")
            continue
        wrong += [f"{name}: {path}" for path, _ in leaves(table) if secret(path) not in known]
    for name in environment:
        if name.startswith("HUBWARDEN__"):
            path = name.removeprefix("HUBWARDEN__").lower().replace("__", ".")
            if secret(path) not in known and not any(path.startswith(f"{free}.") for free in FREE):
                wrong.append(f"{name}: {path}")
        elif name.startswith("HUBWARDEN_"):
            wrong.append(f"{name}: configuration begins with HUBWARDEN__")
    return wrong


def effective(files, environment):
    """All values as layers give them: files by name, then the environment; by dotted path."""
    values = {}
    for name in sorted(files, key=lambda name: ("conf.d" in name, name)):
        for path, value in leaves(tomllib.loads(files[name])):
            if value != []:
                values[path] = value
    for name, value in environment.items():
        if name.startswith("HUBWARDEN__"):
            values[name.removeprefix("HUBWARDEN__").lower().replace("__", ".")] = value
    return values


def program(service):
    """The built program of a service, if there is one."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    found = [target / profile / f"hubwarden-{service}" for profile in ("release", "debug")]
    found = [path for path in found if path.exists()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def judged(service, files, environment):
    """What the program's own --check says against a configuration; None without a program."""
    path = program(service)
    if not path:
        return None
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            place = pathlib.Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        env = {"PATH": "/usr/bin:/bin"} | environment
        main = pathlib.Path(folder) / f"{service}.toml"
        main.touch()
        said = subprocess.run([path, "--config", main, "--check"], env=env, cwd=folder,
                              capture_output=True, text=True, timeout=60)
    return [] if said.returncode == 0 else [f"--check ended with {said.returncode}: {said.stderr.strip()}"]


def flags(service, arguments):
    """Flags that the program's help does not know; None without a program."""
    path = program(service)
    if not path:
        return None
    told = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=60).stdout
    return [flag for flag in arguments if str(flag).startswith("--") and not re.search(rf"(?m){flag}\b", told)]
