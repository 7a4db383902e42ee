"""Hosts of the test's own: network namespaces on one bridge, or behind one that is on it.

The bridge has a namespace too, so the machine's own network is not touched. All that a killed
run can leave behind carries its owner in the name, and the next run sweeps it away.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

PREFIX = "opentracker-e2e-"
NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x4000_0000

# Ranges for documentation (RFC 5737, RFC 3849): nobody's real network is ever meant.
SUBNETS = {"ipv4": "192.0.2.{}/24", "ipv6": "2001:db8::{}/64"}
UNREACHABLE = "198.51.100.1/32"
# Of links that only some hosts are on, each with room for 62.
SEGMENT, SEGMENT_SIZE = "198.51.100.{}/26", 64
BEHIND = "203.0.113.{}"


class CannotRun(Exception):
    """This machine lacks something that the tests need."""


class Network:
    """A bridge and the hosts on it. Leaving the `with` block removes all of them."""

    def __init__(self, name):
        self.name = name
        self.hosts = []
        self._links = 0
        self._namespaces = []
        self._bridge = f"{name}-bridge"

    def __enter__(self):
        try:
            self._namespace(self._bridge)
            _ip("-n", self._bridge, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._bridge, "link", "set", "bridge", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # A veth pair and a bridge go with the namespace that they are in.
        for namespace in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        self._namespaces.clear()

    def host(self, name, families):
        """A host with one address for each of `families`, on the bridge and ready."""
        namespace = f"{self.name}-{name}"
        self._namespace(namespace)
        number = len(self.hosts) + 1
        port = f"port{number}"
        _ip(
            "-n",
            self._bridge,
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            namespace,
        )
        _ip("-n", self._bridge, "link", "set", port, "master", "bridge", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        # With no IPv4 address at all, transmission cannot even bind 127.0.0.1. This one serves nothing
        # else: no other host has a route to it.
        _ip("-n", namespace, "addr", "add", UNREACHABLE, "dev", "lo")
        addresses = {}
        for family in families:
            subnet = SUBNETS[family].format(number)
            # Duplicate address detection would keep an IPv6 address from use for a second.
            nodad = ["nodad"] if family == "ipv6" else []
            _ip("-n", namespace, "addr", "add", subnet, "dev", "eth0", *nodad)
            addresses[family] = subnet.partition("/")[0]
        host = Host(name, namespace, addresses)
        self.hosts.append(host)
        return host

    def behind(self, gateway, name, mtu):
        """A host with an IPv4 address and one link: to the host `gateway`, for packets up to `mtu` bytes."""
        namespace = f"{self.name}-{name}"
        self._namespace(namespace)
        self._links += 1
        port = f"link{self._links}"
        near, far = (BEHIND.format(4 * self._links + end) for end in (1, 2))
        ends = ["name", port, "mtu", mtu], ["name", "eth0", "mtu", mtu, "netns", namespace]
        _ip("-n", gateway.namespace, "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for end, device, address in (gateway.namespace, port, near), (namespace, "eth0", far):
            _ip("-n", end, "addr", "add", f"{address}/30", "dev", device)
            _ip("-n", end, "link", "set", device, "up")
        _ip("-n", namespace, "route", "add", "default", "via", near)
        with gateway.inside():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        return Host(name, namespace, {"ipv4": far})

    def segment(self, number, hosts):
        """Puts hosts on one more link, of their own; `number` is from 1 to 3. Returns their addresses there."""
        bridge = f"segment{number}"
        _ip("-n", self._bridge, "link", "add", bridge, "type", "bridge")
        _ip("-n", self._bridge, "link", "set", bridge, "up")
        addresses = []
        for place, host in enumerate(hosts, 1):
            port, device = f"{bridge}-{place}", f"eth{number}"
            peer = ["peer", "name", device, "netns", host.namespace]
            _ip("-n", self._bridge, "link", "add", port, "type", "veth", *peer)
            _ip("-n", self._bridge, "link", "set", port, "master", bridge, "up")
            subnet = SEGMENT.format(number * SEGMENT_SIZE + place)
            _ip("-n", host.namespace, "addr", "add", subnet, "dev", device)
            _ip("-n", host.namespace, "link", "set", device, "up")
            addresses.append(subnet.partition("/")[0])
        return addresses

    def share(self, hosts, address):
        """Gives one more address to each of the hosts: the same."""
        for host in hosts:
            _ip("-n", host.namespace, "addr", "add", f"{address}/32", "dev", "lo")

    def lead(self, host, address, to):
        """From now on `host` sends what it has for `address` by way of the host `to`."""
        _ip("-n", host.namespace, "route", "replace", address, "via", to.addresses["ipv4"])

    def route(self, host, destination, gateway):
        """`host` sends what it has for the IPv4 address of `destination` by way of `gateway`."""
        address, via = (there.addresses["ipv4"] for there in (destination, gateway))
        _ip("-n", host.namespace, "route", "add", address, "via", via)

    def unplug(self):
        """Takes every host off the bridge. Returns the host on which the other ends of their links are, named
        port1 and so on, so that a program there can pass frames as it likes."""
        for number in range(1, len(self.hosts) + 1):
            _ip("-n", self._bridge, "link", "set", f"port{number}", "nomaster")
        return Host("switch", self._bridge, {})

    def _namespace(self, name):
        _ip("netns", "add", name)
        self._namespaces.append(name)


class Host:
    def __init__(self, name, namespace, addresses):
        self.name = name
        self.namespace = namespace
        self.addresses = addresses

    def command(self, argv):
        """`argv` as a command line that runs on this host, in the same process from start to end."""
        # `setpriv`: if this run is killed, the kernel kills the client too.
        return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace, *map(str, argv)]

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes in the `with` block are on this host, and stay there."""
        with open("/proc/thread-self/ns/net") as home, open(NAMESPACES / self.namespace) as there:
            _set_namespace(there)
            try:
                yield
            finally:
                _set_namespace(home)


def _set_namespace(file):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments):
    arguments = list(map(str, arguments))
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")


def probe(families):
    """Raises CannotRun unless hosts with these address families can be made here."""
    if os.geteuid() != 0:
        raise CannotRun("network namespaces need root")
    if "ipv6" in families and not Path("/proc/net/if_inet6").exists():
        raise CannotRun("the kernel has no IPv6")
    with Network(f"{owner_prefix()}-probe") as network:
        host = network.host("host", families)
        done = subprocess.run(host.command(["true"]), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotRun(f"no command runs in a namespace: {done.stderr.strip()}")


def owner_prefix():
    """How everything that this process creates outside its own memory begins."""
    return f"{PREFIX}{os.getpid()}.{_started(os.getpid())}"


def sweep():
    """Removes what earlier runs left that were killed. A run that is still alive keeps its own."""
    for namespace in _entries(NAMESPACES):
        if _owner_is_dead(namespace):
            pids = subprocess.run(
                ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
            )
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
    for folder in _entries(tempfile.gettempdir()):
        if _owner_is_dead(folder):
            shutil.rmtree(Path(tempfile.gettempdir()) / folder, ignore_errors=True)


def _entries(folder):
    with contextlib.suppress(FileNotFoundError):
        return [name for name in os.listdir(folder) if name.startswith(PREFIX)]
    return []


def _owner_is_dead(name):
    pid, _, started = name.removeprefix(PREFIX).partition("-")[0].partition(".")
    return _started(pid) != started


def _started(pid):
    """When a process began, in clock ticks; a process id alone may be in use again."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces; `starttime` is the 20th field after it.
    return status.rpartition(")")[2].split()[19]
