"""What a caller is told when an S3 server answers an error that an operator can mend."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from services.runtime.store import S3Credentials, StoreUnavailable, open_store


@pytest.mark.parametrize(("code", "said"), [("RequestTimeTooSkewed", "clocks"), ("XMinioStorageFull", "disk is full")])
def test_an_error_of_the_server_is_told_in_a_sentence(code: str, said: str) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        credentials = S3Credentials("access", SecretStr("secret-key"))
        store = open_store(f"s3://timbre?endpoint=http://127.0.0.1:{server.server_port}", credentials)
        with pytest.raises(StoreUnavailable, match=said):
            store.get("a/b")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
