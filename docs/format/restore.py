#!/usr/bin/env python3
"""Restores a restore point of a vault in a directory without Lifeboat, to the moment when it was consistent.

    restore.py VAULT SERVICE POINT INTO          the passphrase as in open.py, which must lie beside this file

For the day on which no `lifeboat` program is at hand. One thread, no resuming, base layers only; tablespaces go below
INTO/tablespaces, WAL into INTO/wal. What to type then is printed.
"""
import json, os, pathlib, sys
import importlib.util

spec = importlib.util.spec_from_file_location("vault", pathlib.Path(__file__).with_name("open.py"))
vault = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vault)


def restore(root, service, point_id, into):
    key = vault.vault_key(root)

    def read(name, number=0):
        raw = (root / name).read_bytes()
        return vault.frame(key, name, raw[48:], number, raw[:48])

    base = f"services/{service}"
    point = json.loads(read(f"{base}/points/{point_id}"))
    (layer,) = point["layers"]
    into.mkdir(mode=0o700)
    data = into / "data"
    data.mkdir(mode=0o700)
    for space in point["tablespaces"]:
        target = into / "tablespaces" / str(space["oid"])
        target.mkdir(parents=True, mode=0o700)
        (data / "pg_tblspc").mkdir(mode=0o700, exist_ok=True)
        (data / "pg_tblspc" / str(space["oid"])).symlink_to(target.resolve())
    vault.vault_key = lambda _: key
    chunks = b"".join(vault.main(root, f"{base}/layers/{layer}/index")).splitlines()
    for entry in (entry for chunk in chunks[1:] for entry in json.loads(chunk)):
        path = data / entry["path"]
        if entry.get("kind") == "directory":
            path.mkdir(mode=entry["mode"], parents=True, exist_ok=True)
        else:
            path.touch(mode=entry["mode"])
            os.truncate(path, entry.get("length", 0))
    for number in range(len(json.loads(chunks[0])["packs"])):
        name = f"{base}/layers/{layer}/pack-{number:06}"
        raw = (root / name).read_bytes()
        pack = json.loads(b"".join(vault.main(root, name)))
        for at, frame in enumerate(pack["frames"]):
            with open(data / pack["files"][frame["f"]], "r+b") as file:
                file.seek(frame["b"])
                file.write(vault.frame(key, name, raw[frame["o"]:frame["o"] + frame["s"]], at, raw[:48]))

    wal = into / "wal"
    wal.mkdir()
    prefix = root / base / "wal" / point["systemId"] / f"{point['timeline']:08X}"
    for path in sorted(path for path in prefix.rglob("*") if path.is_file() and "#" not in path.name):
        piece = path.parent.name.endswith(".d")
        segment = path.parent.name[:-2] if piece else path.name
        start = int(path.name.split("-")[0], 16) % point["segmentBytes"] if piece else 0
        with open(wal / segment, "r+b" if (wal / segment).exists() else "w+b") as file:
            file.truncate(point["segmentBytes"])
            file.seek(start)
            file.write(read(str(path.relative_to(root))))

    (data / "backup_label").write_text(point["backupLabel"])
    (data / "pg_wal").mkdir(mode=0o700, exist_ok=True)
    (data / "recovery.signal").touch()
    (data / "postgresql.auto.conf").write_text(
        f"restore_command = 'cp \"{wal.resolve()}/%f\" \"%p\"'\nrecovery_target = 'immediate'\n"
        f"recovery_target_timeline = '{point['timeline']}'\nrecovery_target_action = 'pause'\n"
        "archive_mode = 'off'\nlisten_addresses = ''\n")
    print(f"restored; as the owner of {into}, with PostgreSQL {point['major']}:")
    print(f"  postgres -D {data.resolve()} -c unix_socket_directories={data.resolve()}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    restore(pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4]))
