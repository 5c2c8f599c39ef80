"""What the programs of a real node read at their start.

Facts that shaped these files: without CAP_SYS_RESOURCE no process may lower its ``oom_score_adj``, which
containerd does for every sandbox unless told to respect what it has (``restrict_oom_score_adj``); the kubelet
refuses control groups of version 1 unless told not to; images that were loaded by hand must not be collected
as garbage, for nobody could pull them again; a node of this kind must leave the machine's own settings,
firewall and folders alone wherever that can be said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from devcluster.real_node.layout import NodeLayout

Json = dict[str, Any]

CLUSTER_DOMAIN: Final = "cluster.local"
# Neither snapshotters for file systems that are not here nor a folder /opt/containerd.
_NOT_NEEDED: Final = (
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.nri.v1.nri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)


def containerd(layout: NodeLayout, pause_image: str, plugins: Path) -> str:
    """Return the configuration of containerd; version 2 is read by containerd 1.6 and by 2.x alike."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    sections: dict[str, Json] = {
        "": {
            "version": 2,
            "root": str(layout.state / "containerd"),
            "state": str(layout.runtime_state),
            "disabled_plugins": list(_NOT_NEEDED),
        },
        "grpc": {"address": str(layout.socket)},
        cri: {
            "sandbox_image": pause_image,
            "restrict_oom_score_adj": True,
            "netns_mounts_under_state_dir": True,
        },
        f"{cri}.registry": {"config_path": str(layout.registries)},
        f"{cri}.cni": {"bin_dir": str(plugins), "conf_dir": str(layout.cni)},
        f"{cri}.containerd.runtimes.runc": {"runtime_type": "io.containerd.runc.v2"},
        f"{cri}.containerd.runtimes.runc.options": {
            "SystemdCgroup": False,
            "Root": str(layout.state / "runc"),
        },
    }
    return "\n".join(_toml(name, values) for name, values in sections.items())


def _toml(section: str, values: Json) -> str:
    """Return a section; strings, numbers, booleans and lists of strings look in TOML as they look in JSON."""
    lines = [f"[{section}]"] if section else []
    return "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


def plain_registry(host: str) -> str:
    """Return what containerd reads in a registry's folder to speak HTTP without TLS with it."""
    return f'server = "http://{host}"\n\n[host."http://{host}"]\n  capabilities = ["pull", "resolve"]\n'


def network(layout: NodeLayout) -> Json:
    """Return the pods' network: a bridge.

    Without masquerading, so that the plugins write no firewall rules.
    """
    bridge = {
        "type": "bridge",
        "bridge": layout.bridge,
        "isDefaultGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.state / "addresses"),
            "ranges": [[{"subnet": layout.pod_range}]],
        },
    }
    return {"cniVersion": "1.0.0", "name": layout.name, "plugins": [bridge]}


def kubelet(layout: NodeLayout, port: int) -> Json:
    """Return the kubelet's configuration."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.address,
        "port": port,
        "healthzPort": 0,
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet.key"),
        "clusterDNS": [layout.dns_address],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(layout.state / "resolv.conf"),
        "podLogsDir": str(layout.state / "pods"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "seccompDefault": True,
        "makeIPTablesUtilChains": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Faster than a large cluster could afford: tests wait for what this tells.
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
    }


def kube_proxy(layout: NodeLayout, kubeconfig: Path) -> Json:
    """kube-proxy's configuration; limits of the machine's connection tracking stay as they are."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "nftables",
        "clusterCIDR": layout.pod_range,
        "hostnameOverride": layout.node_name,
        "bindAddress": layout.address,
        "healthzBindAddress": "",
        "metricsBindAddress": "",
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def admission() -> Json:
    """Return the pod security defaults for namespaces without labels: baseline, as in most clusters."""
    security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {
            "enforce": "baseline",
            "enforce-version": "latest",
            "warn": "restricted",
            "warn-version": "latest",
        },
        "exemptions": {"namespaces": ["kube-system"]},
    }
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": security}],
    }


def firewall(layout: NodeLayout) -> str:
    """Rules that keep pods and the world apart: only this machine and other pods reach a pod, and it them."""
    return f"""
table inet {layout.firewall}
delete table inet {layout.firewall}
table inet {layout.firewall} {{
  chain forward {{
    type filter hook forward priority -10;
    iifname "{layout.bridge}" oifname != "{layout.bridge}" reject
    iifname != "{layout.bridge}" oifname "{layout.bridge}" drop
  }}
}}
"""
