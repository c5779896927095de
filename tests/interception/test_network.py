"""The rules in real network namespaces: what reaches the recorder, what passes it by, and what when it is dead."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pod_network import POD_4, POD_6, PodNetwork, pod_network
from tests.support.running import until

PEERS = str(Path(__file__).with_name("peers.py"))
MODEL, RECORDER, PROBE, HEALTH, ADMIN = 8080, 15100, 15101, 15102, 15190
ADDRESSES = [POD_4, f"[{POD_6}]"]
# What a mesh's own init step does: all that comes in goes to its proxy, and what leaves the pod, too.
ISTIO = """
table inet mesh {
  chain pre { type nat hook prerouting priority -100; tcp dport { 15006, 15008, 15020, 15021, 15090 } return;
    meta l4proto tcp redirect to :15006; }
  chain out { type nat hook output priority -100; ip saddr 127.0.0.6 oifname "lo" return;
    meta skuid != 1337 oifname "lo" return; meta skuid 1337 return; ip daddr 127.0.0.1 return;
    meta l4proto tcp redirect to :15001; }
}
"""
LINKERD = """
table inet mesh {
  chain pre { type nat hook prerouting priority -100; tcp dport { 4190, 4191 } return;
    meta l4proto tcp redirect to :4143; }
  chain out { type nat hook output priority -100; meta skuid 2102 return; oifname "lo" return;
    meta l4proto tcp redirect to :4140; }
}
"""
INTERCEPT = ["--port", str(MODEL), "--to", str(RECORDER), "--probe-port", str(PROBE), "--direct", str(HEALTH)]


class Pod:
    """A model and a recorder in the pod's namespace."""

    def __init__(
        self,
        network: PodNetwork,
        folder: Path,
        listen: int = RECORDER,
        upstream: int = MODEL,
        address: str = POD_4,
    ) -> None:
        self.network, self.folder, self.listen = network, folder, listen
        self.upstream = f"http://[{address}]:{upstream}"
        network.start(network.pod, sys.executable, PEERS, "model", str(MODEL), log=folder / "model.log")
        self.recorder = self.start_recorder()

    def start_recorder(self) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "sidecar.cli", "run", "--listen", f"*:{self.listen}"),
            *(
                "--upstream",
                self.upstream,
                "--health",
                f"*:{HEALTH}",
                "--admin",
                f"*:{ADMIN}",
            ),
            *("--journal", str(self.folder / "journal"), "--store", str(self.folder / "records")),
        ]
        child = self.network.start(self.network.pod, *command, log=self.folder / "sidecar.log")
        until(lambda: self.network.get(f"http://{POD_4}:{HEALTH}/readyz") != "failed", "the recorder")
        until(lambda: "sidecar_" in self.metrics(), "the analyst")
        return child

    def metrics(self) -> str:
        return self.network.get(f"http://127.0.0.1:{ADMIN}/metrics", self.network.pod)

    def intercept(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.network.run(
            self.network.pod, sys.executable, "-m", "sidecar.cli", "intercept", *INTERCEPT, *more
        )

    def recorded(self) -> int:
        found = re.findall(
            r'sidecar_exchanges_total\{[^}]*outcome="complete"[^}]*\} ([0-9.e+]+)', self.metrics()
        )
        return int(sum(map(float, found)))


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with pod_network("sct") as network:
        yield Pod(network, tmp_path)


@pytest.mark.root
def test_redirect_leads_what_comes_from_outside_and_nothing_else(pod: Pod) -> None:
    network = pod.network
    assert pod.intercept().returncode == 0
    for address in ADDRESSES:
        before = pod.recorded()
        assert network.get(f"http://{address}:{MODEL}/").startswith("model saw")
        until(lambda before=before: pod.recorded() == before + 1, "the record")  # type: ignore[misc]
        # Kubelet's probes and calls within the pod reach the model past the recorder.
        assert network.get(f"http://{address}:{PROBE}/").startswith("model saw")
        assert network.get(f"http://{address}:{MODEL}/", network.pod).startswith("model saw")
        assert network.get(f"http://127.0.0.1:{MODEL}/", network.pod).startswith("model saw")
        assert pod.recorded() == before + 1


@pytest.mark.root
def test_in_a_pod_whose_own_address_is_ipv6_both_families_are_recorded(tmp_path: Path) -> None:
    with pod_network("scv") as network:
        pod = Pod(network, tmp_path, address=POD_6)
        assert pod.intercept().returncode == 0
        for number, address in enumerate(ADDRESSES, 1):
            assert network.get(f"http://{address}:{MODEL}/") == f"model saw {POD_6}"
            until(lambda number=number: pod.recorded() == number, "the record")  # type: ignore[misc]


@pytest.mark.root
def test_a_dead_recorder_refuses_calls_and_not_probes_and_goes_on_when_it_is_back(pod: Pod) -> None:
    network = pod.network
    assert pod.intercept().returncode == 0
    pod.recorder.terminate()
    pod.recorder.wait()
    for address in ADDRESSES:
        assert network.get(f"http://{address}:{MODEL}/") == "failed"
        assert network.get(f"http://{address}:{PROBE}/").startswith("model saw")
    pod.recorder = pod.start_recorder()
    assert network.get(f"http://{POD_4}:{MODEL}/").startswith("model saw")


@pytest.mark.root
def test_the_init_step_run_again_changes_nothing(pod: Pod) -> None:
    network = pod.network
    assert pod.intercept().returncode == 0
    first = network.run(network.pod, "nft", "list", "ruleset").stdout
    assert pod.intercept().returncode == 0
    assert network.run(network.pod, "nft", "list", "ruleset").stdout == first
    assert network.get(f"http://{POD_4}:{MODEL}/").startswith("model saw")


@pytest.mark.root
def test_without_rights_the_command_says_what_it_takes(pod: Pod) -> None:
    network = pod.network
    done = network.run(network.pod, sys.executable, "-m", "sidecar.cli", "intercept", *INTERCEPT, user=65532)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "NET_ADMIN" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize(
    ("mesh", "rules", "inbound", "user"),
    [("istio", ISTIO, 15006, 1337), ("linkerd", LINKERD, 4143, 2102)],
    ids=["istio", "linkerd"],
)
def test_behind_a_mesh_the_recorder_sits_between_proxy_and_model(
    pod: Pod, mesh: str, rules: str, inbound: int, user: int
) -> None:
    network = pod.network
    assert network.run(network.pod, "nft", rules).returncode == 0
    network.start(
        *(network.pod, sys.executable, PEERS, "proxy", str(inbound), POD_4, str(MODEL)),
        log=pod.folder / "proxy.log",
        user=user,
    )
    assert pod.intercept("--mesh", mesh, "--mesh-uid", str(user)).returncode == 0
    until(lambda: network.get(f"http://{POD_4}:{MODEL}/").startswith("model saw"), "the mesh's proxy")
    until(lambda: pod.recorded() >= 1, "the first record")
    before = pod.recorded()
    for address in ADDRESSES:
        assert network.get(f"http://{address}:{MODEL}/").startswith("model saw")
    until(lambda: pod.recorded() == before + 2, "the records")
    # The probes' port and the sidecar's own are not the mesh's to take; another user's call is nobody's.
    assert network.get(f"http://{POD_4}:{PROBE}/").startswith("model saw")
    assert network.get(f"http://{POD_4}:{HEALTH}/readyz") != "failed"
    assert network.get(f"http://{POD_4}:{MODEL}/", network.pod).startswith("model saw")
    # A mesh's agent that calls a rewritten probe from inside the pod.
    assert network.get(f"http://127.0.0.1:{PROBE}/", network.pod).startswith("model saw")
    assert network.get(f"http://{POD_4}:{PROBE}/", network.pod).startswith("model saw")
    for address in ADDRESSES:
        assert network.get(f"http://{address}:{PROBE}/", network.pod, user).startswith("model saw")
    assert pod.recorded() == before + 2
    # So a dead recorder does not get the model killed there either.
    pod.recorder.terminate()
    pod.recorder.wait()
    assert network.get(f"http://{POD_4}:{MODEL}/") == "failed"
    assert network.get(f"http://{POD_4}:{PROBE}/", network.pod, user).startswith("model saw")
    assert network.get(f"http://{POD_4}:{PROBE}/").startswith("model saw")


@pytest.mark.root
@pytest.mark.parametrize("listen", [9100])
def test_ports_that_services_target_need_no_rules(tmp_path: Path, listen: int) -> None:
    """Modes `port` and `shift`: the Service leads to the recorder, the kubelet to the model."""
    with pod_network("scu") as network:
        pod = Pod(network, tmp_path, listen)
        for address in ADDRESSES:
            before = pod.recorded()
            assert network.get(f"http://{address}:{listen}/").startswith("model saw")
            until(lambda before=before: pod.recorded() == before + 1, "the record")  # type: ignore[misc]
            assert network.get(f"http://{address}:{MODEL}/").startswith("model saw")
            assert pod.recorded() == before + 1
        pod.recorder.terminate()
        pod.recorder.wait()
        for address in ADDRESSES:
            assert network.get(f"http://{address}:{listen}/") == "failed"
            assert network.get(f"http://{address}:{MODEL}/").startswith("model saw"), "kubelet's probes"


@pytest.mark.root
def test_behind_a_queue_proxy_its_port_is_captured(tmp_path: Path) -> None:
    """Knative's calls the model inside the pod, where rules for what comes in see nothing."""
    queue = 8012
    with pod_network("scq") as network:
        pod = Pod(network, tmp_path, upstream=queue)
        command = (sys.executable, PEERS, "proxy", str(queue), "127.0.0.1", str(MODEL))
        network.start(network.pod, *command, log=tmp_path / "queue.log")
        intercept = ["--port", str(queue), "--to", str(RECORDER), "--probe-port", str(PROBE)]
        done = network.run(network.pod, sys.executable, "-m", "sidecar.cli", "intercept", *intercept)
        assert done.returncode == 0
        until(lambda: network.get(f"http://{POD_4}:{PROBE}/").startswith("model saw"), "the queue-proxy")
        for address in ADDRESSES:
            before = pod.recorded()
            assert network.get(f"http://{address}:{queue}/") == "model saw 127.0.0.1"
            until(lambda before=before: pod.recorded() == before + 1, "the record")  # type: ignore[misc]
            assert network.get(f"http://{address}:{PROBE}/").startswith("model saw")
            assert pod.recorded() == before + 1
