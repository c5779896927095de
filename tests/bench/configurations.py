"""Configuration files of the proxies and of the upstream: text from ports and folders, nothing else.

Each is what its users would write for a model server, tuned where the default would be unfair to it:
kept-alive upstream connections, no access log, one worker.
"""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

DECISIONS = """
    split_clients "$connection.$connection_requests" $decision { 12% deny; * approve; }
    split_clients "$connection_requests.$connection" $score { 25% 0.12; 25% 0.37; 25% 0.61; * 0.88; }
"""


def _nginx(folder: Path, http: str) -> str:
    """A whole nginx.conf that needs no root: every path it may write to lies in `folder`."""
    user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
    scratch = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; multi_accept on; }}
http {{
    access_log off;
    keepalive_timeout 120s;
    keepalive_requests 100000000;
    client_max_body_size 0;
    tcp_nodelay on;
{scratch}
{http}
}}
"""


def upstream(folder: Path, port: int, sink_port: int) -> str:
    """An nginx that answers every POST with 200 and a small decision; the sink swallows mirrored requests."""
    answer = '{"decision":"$decision","probability":$score,"model":"mortgage"}'
    return _nginx(
        folder,
        f"""{DECISIONS}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{sink_port} backlog=4096;
        location / {{ return 204; }}
    }}""",
    )


def nginx(folder: Path, port: int, upstream_port: int, sink_port: int | None) -> str:
    """nginx as a reverse proxy; with a sink, every request is mirrored to it."""
    mirror = mirrored = ""
    if sink_port is not None:
        mirror = "mirror /mirrored; mirror_request_body on;"
        mirrored = """
        location = /mirrored {
            internal;
            proxy_pass http://sink$request_uri;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }"""
    sink = "" if sink_port is None else f"upstream sink {{ server 127.0.0.1:{sink_port}; keepalive 256; }}"
    return _nginx(
        folder,
        f"""
    upstream model {{ server 127.0.0.1:{upstream_port}; keepalive 256; keepalive_requests 100000000; }}
    {sink}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            {mirror}
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
        location /events {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}{mirrored}
    }}""",
    )


def haproxy(port: int, upstream_port: int) -> str:
    """HAProxy as a reverse proxy. Without `http-no-delay` it holds events back for up to 20 ms."""
    return f"""global
    nbthread 1
    maxconn 4000
defaults
    mode http
    option http-keep-alive
    timeout connect 5s
    timeout client 120s
    timeout server 120s
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    use_backend events if {{ path /events }}
    default_backend model
backend model
    server model 127.0.0.1:{upstream_port}
backend events
    option http-no-delay
    server model 127.0.0.1:{upstream_port}
"""


def envoy(port: int, upstream_port: int, tap_folder: Path | None) -> str:
    """Envoy's bootstrap as JSON, which it reads as YAML; with a folder, its tap filter writes there."""
    filters: list[dict[str, object]] = []
    types = "type.googleapis.com/envoy.extensions"
    if tap_folder is not None:
        sink = {"format": "PROTO_BINARY", "file_per_tap": {"path_prefix": f"{tap_folder}/tap"}}
        # By default the filter keeps the first 1 KiB of a body; these limits keep all that the bench sends.
        limits = {"max_buffered_rx_bytes": 32 << 20, "max_buffered_tx_bytes": 32 << 20}
        static = {"match": {"any_match": True}, "output_config": {"sinks": [sink], **limits}}
        filters.append(
            {
                "name": "envoy.filters.http.tap",
                "typed_config": {
                    "@type": f"{types}.filters.http.tap.v3.Tap",
                    "common_config": {"static_config": static},
                },
            }
        )
    filters.append(
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{types}.filters.http.router.v3.Router"},
        }
    )
    route = {"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}
    manager = {
        "@type": f"{types}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    listener = {
        "name": "clients",
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    endpoint = {"endpoint": {"address": _address(upstream_port)}}
    cluster = {
        "name": "model",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "model", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
