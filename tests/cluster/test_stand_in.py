# SPDX-License-Identifier: Apache-2.0
"""The stand-in k3s by itself, in a file system where there is nothing but it: as unkind as k3s is."""

import contextlib
import json
import os
import pathlib
import re
import signal
import stat
import subprocess

import pytest

from . import releases
from .certificates import Authority
from .installer import STAND_IN
from .processes import until

VERSION = "v1.30.4+k3s1"
NOBODY = 65534
DEFAULT = "/var/lib/rancher/k3s"
CONFIG = "/etc/rancher/k3s/config.yaml"


class Place:
    """A root directory with /proc and /usr/local/bin/k3s; nothing runs in it but what is started here."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        for name in ("proc", "dev", "run", "tmp", "etc/rancher/k3s", "usr/local/bin"):
            self.path(name).mkdir(parents=True)
        root.chmod(0o755)
        self.path("tmp").chmod(0o777)
        os.mknod(self.path("dev/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self.path("dev/null").chmod(0o666)
        self.install(releases.binary(VERSION).read_bytes())

    def path(self, path) -> pathlib.Path:
        return self.root / str(path).lstrip("/")

    def put(self, path, text, mode=0o644):
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)
        self.path(path).chmod(mode)

    def install(self, program: bytes, at="/usr/local/bin/k3s"):
        self.path(at).write_bytes(program)
        self.path(at).chmod(0o755)
        self.hash = releases.payload_hash(program)

    def unpacked(self, data_dir=DEFAULT) -> bool:
        return self.path(f"{data_dir}/data/{self.hash}/bin/k3s").exists()

    def behave(self, **how):
        self.put("/etc/rancher/k3s/stand-in.json", json.dumps(how))

    def command(self, *args, user=0, program="/usr/local/bin/k3s", beside=None) -> list:
        """In a network of its own, or in that of the process `beside`."""
        network = ["nsenter", f"--target={beside}", "--net"] if beside else ["unshare", "--net"]
        script = 'ip link set lo up; mount -t proc proc "$1/proc"; exec chroot --userspec="$2:$2" "$1" "$3" "${@:4}"'
        return [*network, "unshare", "--mount", "bash", "-ec", script, "bash", self.root, str(user), program, *args]

    def run(self, *args, env=None, **where):
        return subprocess.run(self.command(*args, **where), env={"PATH": os.environ["PATH"], **(env or {})},
                              capture_output=True, text=True, timeout=60, check=False)

    @contextlib.contextmanager
    def running(self, *args, env=None):
        with subprocess.Popen(self.command(*args), env={"PATH": os.environ["PATH"], **(env or {})}, stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def identify(self, **facts):
        """What the test cluster leaves on a host."""
        server, client = Authority(self.path(STAND_IN), "server-ca"), Authority(self.path(STAND_IN), "client-ca")
        assert client.key.exists()
        server.issue("api-server", "/CN=kube-apiserver", "serverAuth", ["IP:127.0.0.1"])
        self.put(f"{STAND_IN}/host.json", json.dumps({"nodeName": "node-1", "nodeIP": "127.0.0.1", "api": "127.0.0.1:1",
                                                      "servers": ["127.0.0.1:1"], **facts}))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "root")


def cmdline(pid) -> bytes:
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def test_it_tells_its_version_by_the_name_it_was_called_by(place):
    place.install(releases.binary(VERSION).read_bytes(), "/usr/local/bin/binary.partial")
    said = place.run("--version", user=NOBODY, program="/usr/local/bin/binary.partial")
    assert said.stdout == f"binary.partial version {VERSION} (98262b5d)\ngo version go1.22.5\n"
    assert not place.unpacked(), "that is told before anything is unpacked"


# The payload


def test_the_first_command_unpacks_the_program_and_the_next_finds_it(place):
    first = place.run("kubectl", "version", "--client")
    assert first.returncode == 0 and f"Preparing data dir {DEFAULT}/data/{place.hash}" in first.stderr
    assert place.unpacked()
    assert "Preparing" not in place.run("kubectl", "version", "--client").stderr


def test_another_user_unpacks_it_at_home(place):
    place.path("/home/me").mkdir(parents=True)
    os.chown(place.path("/home/me"), NOBODY, NOBODY)
    assert place.run("kubectl", "version", "--client", user=NOBODY, env={"HOME": "/home/me"}).returncode == 0
    assert place.unpacked("/home/me/.rancher/k3s") and not place.unpacked()
    homeless = place.run("kubectl", "version", "--client", user=NOBODY, env={"HOME": "/nowhere"})
    assert homeless.returncode == 1 and 'level=fatal msg="extracting data: mkdir /nowhere: permission denied"' in homeless.stderr


def test_a_corrupt_payload_is_met_by_all_but_the_version(place):
    place.install(releases.corrupted(releases.binary(VERSION).read_bytes()))
    assert VERSION in place.run("--version").stdout
    for command in (["kubectl", "version", "--client"], ["server"], ["agent"], ["etcd-snapshot", "save"]):
        failed = place.run(*command)
        assert failed.returncode == 1
        assert 'level=fatal msg="extracting data: flate: corrupt input before offset' in failed.stderr
    assert not place.unpacked()


def test_what_was_unpacked_of_an_older_version_stays(place):
    place.run("kubectl", "version", "--client")
    old = place.hash
    place.install(releases.binary("v1.31.4+k3s1").read_bytes())
    place.run("kubectl", "version", "--client")
    assert sorted(p.name for p in place.path(f"{DEFAULT}/data").iterdir()) == sorted([old, place.hash])


# The configuration


def test_a_configuration_that_cannot_be_read_ends_every_command(place):
    place.path("/home/me").mkdir(parents=True)
    os.chown(place.path("/home/me"), NOBODY, NOBODY)
    place.put(CONFIG, "", 0o600)
    ask = {"user": NOBODY, "env": {"HOME": "/home/me"}}
    failed = place.run("kubectl", "version", "--client", **ask)
    assert failed.returncode == 1 and f'level=fatal msg="open {CONFIG}: permission denied"' in failed.stderr
    assert place.run("--version", **ask).returncode == 0
    ask["env"]["K3S_CONFIG_FILE"] = "/dev/null"
    assert place.run("kubectl", "version", "--client", **ask).returncode == 0


@pytest.mark.parametrize("version", ["v1.20.8+k3s1", "v1.21.2+k3s1"])
def test_old_versions_read_it_before_they_tell_their_version(place, version):
    place.install(releases.binary(version).read_bytes())
    place.put(CONFIG, "", 0o600)
    assert "permission denied" in place.run("--version", user=NOBODY).stderr
    assert version in place.run("--version", user=NOBODY, env={"K3S_CONFIG_FILE": "/dev/null"}).stdout


@pytest.mark.parametrize("argument, folder, file, variable, used", [
    (["--data-dir", "/argument"], "/folder", "/file", "/variable", "/argument"),
    (["--data-dir=/argument"], None, None, None, "/argument"),
    (["-d", "/argument"], None, "/file", None, "/argument"),
    ([], "/folder", "/file", "/variable", "/folder"),
    ([], None, "/file", "/variable", "/file"),
    ([], None, "'/file' # where it is", None, "/file"),
    ([], None, None, "/variable", "/variable"),
    ([], None, None, None, DEFAULT),
])
def test_data_dir_is_found_as_k3s_finds_it(place, argument, folder, file, variable, used):
    if file:
        place.put(CONFIG, f"# ours\nnode-label:\n- a=b\ndata-dir: {file}\n")
    if folder:
        place.put(f"{CONFIG}.d/10.yaml", "data-dir: /overruled\n")
        place.put(f"{CONFIG}.d/20.yaml", f'data-dir: "{folder}"\n')
    place.run("kubectl", "version", "--client", *argument, env={"K3S_DATA_DIR": variable} if variable else None)
    assert place.unpacked(used)


def test_the_variable_counts_only_where_k3s_honours_it(place):
    place.install(releases.binary("v1.30.2+k3s1").read_bytes())
    place.run("kubectl", "version", "--client", env={"K3S_DATA_DIR": "/variable"})
    assert place.unpacked() and not place.unpacked("/variable")


def test_the_variable_that_names_the_file_beats_the_argument(place):
    place.put("/tmp/one.yaml", "data-dir: /one\n")
    place.put("/tmp/two.yaml", "data-dir: /two\n")
    place.run("kubectl", "version", "--client", "--config", "/tmp/one.yaml", env={"K3S_CONFIG_FILE": "/tmp/two.yaml"})
    assert place.unpacked("/two") and not place.unpacked("/one")
    place.run("kubectl", "version", "--client", "--config=/tmp/one.yaml")
    assert place.unpacked("/one")
    place.path(f"{CONFIG}.d").mkdir(mode=0o700)
    assert f"open {CONFIG}.d: permission denied" in place.run("kubectl", user=NOBODY, env={"HOME": "/tmp"}).stderr
    missing = place.run("kubectl", "version", "--client", "-c", "/tmp/three.yaml")
    assert "open /tmp/three.yaml: no such file or directory" in missing.stderr


# Processes


@pytest.mark.parametrize("role", ["server", "agent"])
def test_the_arguments_are_hidden_and_the_path_and_the_role_are_not(place, role):
    place.identify()
    place.behave(hangStart=True)
    arguments = [role, "--token", "secret", "--node-label=a=b"]
    with place.running(*arguments) as process:
        hidden = f"/usr/local/bin/k3s {role}\0".encode()
        shown = until(lambda: cmdline(process.pid).startswith(hidden) and cmdline(process.pid), "the title")
        assert len(shown) == len("\0".join(["/usr/local/bin/k3s", *arguments, ""])) and not shown[len(hidden):].strip(b"\0")
        # Seen from here, where the place's root is not ours.
        assert os.readlink(f"/proc/{process.pid}/exe").endswith(f"{DEFAULT}/data/{place.hash}/bin/k3s")


@pytest.mark.parametrize("configured", [False, True], ids=["argument", "config.yaml"])
def test_with_a_log_the_parent_is_init_and_may_end_before_its_child(place, configured):
    place.identify()
    place.behave(childOutlives=1)
    if configured:
        place.put(CONFIG, "log: /tmp/k3s.log\n")
    with place.running("server", *([] if configured else ["--log", "/tmp/k3s.log"])) as process:
        def child():
            threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
            found = [pid for file in threads for pid in file.read_text().split()]
            return found[0] if found and cmdline(found[0]).startswith(b"k3s server\0") else None
        worker = until(child, "the child")
        assert cmdline(process.pid).startswith(b"/usr/local/bin/k3s init\0")
        until(lambda: "Starting k3s server" in place.path("/tmp/k3s.log").read_text(), "its log")
        handle = os.pidfd_open(int(worker))
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == -signal.SIGTERM
            assert cmdline(worker).startswith(b"k3s server\0"), "the child outlives it"
            until(lambda: "context canceled" in place.path("/tmp/k3s.log").read_text(), "the child's end")
        finally:
            os.close(handle)


@pytest.mark.parametrize("role, how, status", [("server", {}, 1), ("server", {"fatalOnTerm": False}, 0), ("agent", {}, 0)])
def test_a_server_ends_with_an_error(place, role, how, status):
    place.identify()
    place.behave(**how)
    with place.running(role) as process:
        for line in process.stderr:
            if "Starting k3s" in line:
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == status
        assert ('level=fatal msg="context canceled"' in process.stderr.read()) == (status == 1)


def test_a_server_without_an_agent_has_no_kubelet(place):
    place.identify()
    kubeconfig = place.path(f"{DEFAULT}/agent/kubelet.kubeconfig")
    for argument, expected in (("--disable-agent", False), ("--https-listen-port=7443", True)):
        place.path("/etc/rancher/k3s/k3s.yaml").unlink(missing_ok=True)
        with place.running("server", argument):
            until(lambda: place.path("/etc/rancher/k3s/k3s.yaml").exists(), "the administrator's credential")
            assert kubeconfig.exists() == expected
    assert "server: https://127.0.0.1:7443\n" in kubeconfig.read_text()


# Snapshots


SNAPSHOTS = f"{DEFAULT}/server/db/snapshots"


@contextlib.contextmanager
def etcd(place, *args):
    """A server that keeps its data in etcd; yields what runs etcd-snapshot beside it."""
    place.identify(etcd=True)
    with place.running("server", *args) as process:
        until(lambda: place.path(f"{DEFAULT}/server/db/etcd/name").exists(), "its etcd")
        yield lambda *arguments: place.run("etcd-snapshot", *arguments, beside=process.pid)


def files(place, folder=SNAPSHOTS):
    return sorted(p.name for p in place.path(folder).iterdir())


def scheduled(place, count):
    """What a server's own schedule has left."""
    names = [f"etcd-snapshot-node-1-{1_600_000_000 + n}" for n in range(count)]
    for name in names:
        place.put(f"{SNAPSHOTS}/{name}", "the administrator's\n")
    return names


def test_1_20_takes_a_snapshot_whatever_it_is_told(place):
    place.install(releases.binary("v1.20.8+k3s1").read_bytes())
    with etcd(place) as snapshot:
        for command in ("save", "prune"):
            said = snapshot(command, "--name", "mine")
            assert said.returncode == 0 and "on-demand" not in said.stdout + said.stderr
            assert re.fullmatch(r"on-demand-\d+", files(place)[-1])
            place.path(SNAPSHOTS).joinpath(files(place)[-1]).rename(place.path(SNAPSHOTS) / f"an-earlier-{command}")
        snapshot("--name", "mine")
        assert len([f for f in files(place) if re.fullmatch(r"mine-\d+", f)]) == 1


def test_1_21_names_a_file_that_is_not_there_and_prunes_the_scheduled_ones(place):
    place.install(releases.binary("v1.21.2+k3s1").read_bytes())
    with etcd(place) as snapshot:
        old = scheduled(place, 7)
        path = json.loads(snapshot("save", "--name", "mine").stderr)["path"]
        assert path.endswith(".part") and not place.path(path).exists() and place.path(path.removesuffix(".part")).exists()
        snapshot("prune", "--name", "mine", "--snapshot-retention", "2")
        assert files(place) == [*old[-2:], pathlib.Path(path).stem]


def test_today_save_names_the_file_and_prune_knows_the_name(place):
    with etcd(place) as snapshot:
        old = scheduled(place, 3)
        said = snapshot("save", "--name", "mine", "-s", "https://127.0.0.1:2379").stdout
        made = re.fullmatch(r'level=info msg="Snapshot (mine-node-1-\d+) saved\."\n', said).group(1)
        assert files(place) == [*old, made]
        snapshot("prune", "--name", "mine", "--snapshot-retention", "0", "-s", "https://127.0.0.1:2379")
        assert files(place) == old


def test_today_it_dials_6443_unless_it_is_told_the_server(place):
    with etcd(place) as snapshot:
        assert "dial tcp 127.0.0.1:6443: connect: connection refused" in snapshot("save").stderr
        assert snapshot("save", "-s", "https://127.0.0.1:2379").returncode == 0
    said = [json.loads(line)["server"] for line in place.path("/run/k3s-stand-in/etcd-snapshot.log").read_text().splitlines()]
    assert said == ["https://127.0.0.1:6443", "https://127.0.0.1:2379"]


@pytest.mark.parametrize("version, server", [("v1.30.1+k3s1", "https://other:6443"), (VERSION, "https://127.0.0.1:6443")])
def test_before_1_30_2_the_configuration_sends_it_to_another_server(place, version, server):
    place.install(releases.binary(version).read_bytes())
    place.put(CONFIG, "server: https://other:6443\n")
    place.identify(etcd=True)
    place.run("etcd-snapshot", "save")
    assert json.loads(place.path("/run/k3s-stand-in/etcd-snapshot.log").read_text())["server"] == server


def test_a_snapshot_may_fail_in_silence(place):
    place.behave(snapshotSilentFailure=True)
    with etcd(place) as snapshot:
        failed = snapshot("save", "-s", "https://127.0.0.1:2379")
        assert (failed.returncode, failed.stdout, failed.stderr) == (0, "", "")
        assert [f.endswith(".part") for f in files(place)] == [True]


def test_another_snapshot_may_be_in_progress(place):
    place.behave(snapshotInProgress=2)
    with etcd(place) as snapshot:
        results = [snapshot("save", "-s", "https://127.0.0.1:2379") for _ in range(3)]
        assert [r.returncode for r in results] == [1, 1, 0]
        assert "snapshot save already in progress" in results[0].stderr


@pytest.mark.parametrize("configured", [False, True], ids=["argument", "config.yaml"])
def test_snapshots_lie_where_they_are_wanted(place, configured):
    if configured:
        place.put(CONFIG, "etcd-snapshot-dir: /backups\n")
    with etcd(place) as snapshot:
        snapshot("save", "-s", "https://127.0.0.1:2379", *([] if configured else ["--etcd-snapshot-dir", "/backups"]))
        assert len(files(place, "/backups")) == 1 and not place.path(SNAPSHOTS).exists()
