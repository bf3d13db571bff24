#!/usr/bin/env python3
"""Writes a container image from scratch: one static program, as a tar file in the OCI layout.

    scripts/oci.py PROGRAM IMAGE.tar [--version VERSION]

    docker load <IMAGE.tar      podman load <IMAGE.tar      skopeo copy oci-archive:IMAGE.tar ...

The same program gives the same bytes: times are SOURCE_DATE_EPOCH, or 0.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import tarfile

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Labs write below /run and /etc/netns, and programs of machines see the others.
DIRECTORIES = {"etc": 0o755, "etc/netns": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777,
               "var": 0o755, "var/lib": 0o755, "var/tmp": 0o1777, "root": 0o700, "usr": 0o755, "usr/bin": 0o755}
FILES = {"etc/passwd": b"root:x:0:0:root:/root:/usr/bin/vnet\nnobody:x:65534:65534:nobody:/:/usr/bin/vnet\n",
         "etc/group": b"root:x:0:\nnogroup:x:65534:\n", "etc/hosts": b"127.0.0.1 localhost\n", "etc/resolv.conf": b""}


def entry(tar, name, mode, data=None):
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, EPOCH
    info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    info.size = 0 if data is None else len(data)
    tar.addfile(info, None if data is None else io.BytesIO(data))


def layer(program):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, mode in sorted(DIRECTORIES.items()):
            entry(tar, name, mode)
        for name, data in sorted(FILES.items()):
            entry(tar, name, 0o644, data)
        with open(program, "rb") as file:
            entry(tar, "usr/bin/vnet", 0o755, file.read())
    return buffer.getvalue()


class Image:
    """The blobs of an image, by the names that their contents have."""

    def __init__(self):
        self.blobs = {}

    def add(self, media_type, data):
        name = hashlib.sha256(data).hexdigest()
        self.blobs[name] = data
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def add_json(self, media_type, value):
        return self.add(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    def write(self, path, index):
        with tarfile.open(path, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            entry(tar, "oci-layout", 0o644, b'{"imageLayoutVersion":"1.0.0"}')
            entry(tar, "index.json", 0o644, json.dumps(index, sort_keys=True).encode())
            for name, data in sorted(self.blobs.items()):
                entry(tar, f"blobs/sha256/{name}", 0o644, data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("image")
    parser.add_argument("--version", default="latest")
    arguments = parser.parse_args()
    image, tar = Image(), layer(arguments.program)
    kind = "application/vnd.oci.image"
    packed = image.add(f"{kind}.layer.v1.tar+gzip", gzip.compress(tar, mtime=0))
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    config = image.add_json(f"{kind}.config.v1+json", {
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": ["/usr/bin/vnet"], "Cmd": ["--help"], "WorkingDir": "/lab",
                   "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
                   "Labels": {"org.opencontainers.image.title": "vnet", "org.opencontainers.image.version": arguments.version,
                              "org.opencontainers.image.licenses": "MIT OR Apache-2.0"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created_by": "scripts/oci.py"}],
    })
    manifest = image.add_json(f"{kind}.manifest.v1+json", {
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config, "layers": [packed]})
    manifest["annotations"] = {"org.opencontainers.image.ref.name": arguments.version, "io.containerd.image.name": f"vnet:{arguments.version}"}
    manifest["platform"] = {"architecture": architecture, "os": "linux"}
    image.write(arguments.image, {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": [manifest]})


if __name__ == "__main__":
    main()
