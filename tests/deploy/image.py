#!/usr/bin/env python3
"""Carries out the Dockerfile without a container engine: its steps run in a fresh Debian folder.

    image.py TARGET [TARGET...]      for example: image.py simulator

The build stage runs in a folder made by debootstrap, with this machine's Rust in place of the base
image's. A target's own instructions then fill a folder, and its program is started there by chroot
as the user of the image, with the folder mounted read-only. What this cannot show: pulling the base
image, the registry, and the engine's own layers and caches. Needs root and debootstrap.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target")).resolve() / "tools/image"


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def stages():
    """Each stage: its name, what it starts from, and its instructions in order."""
    text = (HERE / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    found = {}
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = (base, [])
        else:
            current[1].append((word, rest))
    return found


class Root:
    """A fresh Debian with this machine's Rust."""

    def __init__(self, suite):
        self.path = TOOLS / "build"
        self.mounts = []
        if not (self.path / "etc/debian_version").exists():
            run("debootstrap", "--variant=minbase", suite, self.path)
            for name in ("apt.conf.d", "auth.conf.d", "keyrings", "sources.list.d", "trusted.gpg.d"):
                source = pathlib.Path("/etc/apt") / name
                if source.is_dir():
                    shutil.copytree(source, self.path / "etc/apt" / name, dirs_exist_ok=True)
            listed = pathlib.Path("/etc/apt/sources.list")
            if listed.is_file():
                shutil.copy(listed, self.path / "etc/apt/sources.list")
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        toolchain = pathlib.Path(subprocess.check_output(["rustc", "--print", "sysroot"], cwd=HERE, text=True).strip())
        self.bind(toolchain, "usr/local/rust")
        cargo = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
        self.bind(cargo / "registry", "usr/local/cargo/registry")
        if (cargo / "config.toml").exists():
            shutil.copy(cargo / "config.toml", self.path / "usr/local/cargo/config.toml")
        # Downloads trust what this machine trusts; the image gets Debian's certificates all the same.
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", self.path / "etc/machine.crt")
        self.bind("/proc", "proc")
        self.bind("/dev", "dev")

    def bind(self, source, target):
        target = self.path / target
        target.mkdir(parents=True, exist_ok=True)
        if target.is_mount():  # left by a run that was killed
            run("umount", target)
        run("mount", "--bind", source, target)
        self.mounts.append(target)

    def close(self):
        for target in reversed(self.mounts):
            run("umount", target)

    def shell(self, script, folder, environment):
        certificates = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "CARGO_HTTP_CAINFO")
        env = environment | {name: "/etc/machine.crt" for name in certificates} | {
            "CARGO_HOME": "/usr/local/cargo", "HOME": "/root",
            "PATH": "/usr/local/cargo/bin:/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        script = f"cd {shlex.quote(folder)} && {script}"
        run("chroot", self.path, "/bin/sh", "-ec", script, env=env)


def build(instructions, suite, programs):
    root = Root(suite)
    folder, environment = "/", {}
    try:
        for word, rest in instructions:
            if word == "WORKDIR":
                folder = rest
                (root.path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif word == "ARG":
                name, _, _ = rest.partition("=")
                environment[name] = programs
            elif word == "COPY" and rest == ". .":
                place = root.path / folder.lstrip("/")
                for old in place.iterdir():
                    if old.name != "target":
                        shutil.rmtree(old) if old.is_dir() else old.unlink()
                ignored = [line for line in (HERE / ".dockerignore").read_text().split() if line]
                excludes = [f"--exclude={name if name.startswith('**/') else './' + name}" for name in ignored]
                excludes = [part.replace("**/", "") for part in excludes]
                tar = subprocess.Popen(["tar", "-C", HERE, *excludes, "-cf", "-", "."], stdout=subprocess.PIPE)
                run("tar", "-C", place, "-xf", "-", "--no-same-owner", stdin=tar.stdout)
                if tar.wait():
                    sys.exit("the sources cannot be copied")
            elif word == "RUN":
                print(f"--- RUN {rest}", flush=True)
                root.shell(re.sub(r"--mount=\S+\s+", "", rest), folder, environment)
            else:
                sys.exit(f"image.py does not know {word} {rest} of the build stage")
    finally:
        root.close()
    return root.path


def lay(name, found, built):
    """Fills a folder with what the stages from scratch on say; gives what the image would start."""
    image, settings = TOOLS / f"image-{name}", {}
    shutil.rmtree(image, ignore_errors=True)
    image.mkdir(parents=True)
    base, instructions = found[name]
    if base != "scratch":
        sys.exit(f"{name} is not made from scratch")
    for word, rest in instructions:
        if word == "COPY":
            *flags, source, target = rest.split()
            owner = next((flag.split("=")[1] for flag in flags if flag.startswith("--chown=")), "0:0")
            if "--from=build" not in flags:
                sys.exit(f"{name}: only copies from the build stage are known: {rest}")
            place = image / target.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            run("cp", "-rT", "--preserve=mode", built / source.lstrip("/"), place)
            if owner != "0:0":
                for copied in (built / source.lstrip("/")).iterdir():
                    run("chown", "-R", owner, place / copied.name)
        elif word == "WORKDIR":
            (image / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            settings["WORKDIR"] = rest
        else:
            settings[word] = rest
    return image, settings


def checks(name, image, settings):
    """Starts the program as the image would, and looks at what lies in it."""
    def check(holds, what):
        print(f"{'ok' if holds else 'FAILED'}: {name}: {what}")
        return holds

    user = settings["USER"]
    program = json.loads(settings["ENTRYPOINT"])[0]
    run("mount", "--bind", image, image)
    run("mount", "-o", "remount,bind,ro", image)
    try:
        started = subprocess.run(
            [shutil.which("chroot"), f"--userspec={user}", image, program, "--help"],
            env={"PATH": "/usr/local/bin"}, capture_output=True, text=True)
    finally:
        run("umount", image)
    files = [path for path in image.rglob("*") if path.is_file() and not path.is_symlink()]
    writable = [str(path) for path in image.rglob("*")
                if path.lstat().st_mode & 0o002 and path.relative_to(image).as_posix() != "tmp"]
    setuid = [str(path) for path in files if path.stat().st_mode & 0o6000]
    sbom = image / "usr/share/sbom" / f"{pathlib.Path(program).name}.cdx.json"
    components = json.loads(sbom.read_text())["components"] if sbom.exists() else []
    data = (image / "var/lib/hubwarden").stat()
    size = sum(path.stat().st_size for path in files) / 2**20
    return [
        check(started.returncode == 0 and "Usage" in started.stdout,
              f"starts as {user} on a read-only root {started.stderr.strip()[:200]}"),
        check(f"{data.st_uid}:{data.st_gid}" == user, "its user owns /var/lib/hubwarden"),
        check(not writable, f"nothing is writable for everybody {writable[:3]}"),
        check(not setuid, f"no setuid file {setuid[:3]}"),
        check(not (image / "bin/sh").exists() and not (image / "usr/bin").exists(), "no shell"),
        check(len(components) > 50, f"the SBOM lists {len(components)} components"),
        check(any((image / "var/lib/dpkg/status.d").iterdir()), "packages are named for scanners"),
        check(size < 100, f"{size:.0f} MiB"),
    ]


def main():
    targets = sys.argv[1:]
    found = stages()
    wrong = [name for name in targets if name not in found]
    if not targets or wrong:
        sys.exit(f"usage: image.py TARGET...; targets: {' '.join(found)}")
    TOOLS.mkdir(parents=True, exist_ok=True)
    base = found["build"][0]
    programs = [json.loads(dict(found[name][1])["ENTRYPOINT"])[0].rsplit("/", 1)[1] for name in targets]
    built = build(found["build"][1], base.rsplit("-", 1)[1], " ".join(programs))
    results = [result for name in targets for result in checks(name, *lay(name, found, built))]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


main()
