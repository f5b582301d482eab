"""Redis over TLS, with a certificate authority of one's own."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from ports import free_port
from redis_server import RedisServer
from store_places import server_binary

from openbell.adapters.stores import open_store
from openbell.errors import StoreError


def test_a_store_is_spoken_to_over_tls_and_a_foreign_certificate_is_refused(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme", reason="the package trustme is not installed")
    ours, foreign = trustme.CA(), trustme.CA()
    of_server = ours.issue_cert("127.0.0.1", "localhost")
    for name, authority in (("ours.pem", ours), ("foreign.pem", foreign)):
        authority.cert_pem.write_to_path(tmp_path / name)
    of_server.private_key_pem.write_to_path(tmp_path / "key.pem")
    of_server.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(tmp_path / "cert.pem")),
        *("--tls-key-file", str(tmp_path / "key.pem")),
        *("--tls-ca-cert-file", str(tmp_path / "ours.pem")),
    )
    binary = server_binary()
    linked = subprocess.run(
        [binary, "--tls-port", "0", "--check-system"], check=False, capture_output=True, text=True
    )
    if "tls-port" in linked.stdout + linked.stderr:
        pytest.skip("this Redis or Valkey server is built without TLS")
    with RedisServer(binary, *options):
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path}"
        with closing(open_store(f"{url}/ours.pem", "bot")) as store:
            assert store.head().commit == 0
        for authority in (f"{url}/foreign.pem", f"rediss://127.0.0.1:{port}/0"):
            with pytest.raises(StoreError, match="certificate"):
                open_store(authority, "bot").head()
