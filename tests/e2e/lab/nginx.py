# SPDX-License-Identifier: BSD-2-Clause
"""An nginx in a namespace: files over HTTP and HTTPS, /small (100 bytes, written at once with their
head), and uploads by PUT to /up/."""

import subprocess
from pathlib import Path

from lab.net import until
from lab.suite import check

_CONFIG = """
daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000;
	client_max_body_size 0;
	client_body_temp_path {dir}/body;
	proxy_temp_path {dir}/unused;
	fastcgi_temp_path {dir}/unused;
	uwsgi_temp_path {dir}/unused;
	scgi_temp_path {dir}/unused;
	server {{
		listen {address}:80 backlog=1024;
		listen {address}:443 ssl backlog=1024;
		ssl_certificate {dir}/cert.pem;
		ssl_certificate_key {dir}/key.pem;
		root {dir}/files;
		location /paced/ {{
			alias {dir}/files/;
			limit_rate 4m;
			output_buffers 1 32k;
		}}
		location = /small {{
			return 200 "{small}";
		}}
		location /up/ {{
			dav_methods PUT;
			create_full_put_path on;
		}}
	}}
}}
"""


class Nginx:
    """name: whom its certificate is for, besides the address."""

    def __init__(self, ns, address, where, name="origin.test"):
        self.ns, self.address = ns, address
        self.dir = Path(where) / "nginx"
        self.files = self.dir / "files"
        self.certificate = self.dir / "cert.pem"
        (self.files / "up").mkdir(parents=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:{address}", "-keyout",
                        self.dir / "key.pem", "-out", self.certificate],
                       check=True, capture_output=True)
        (self.dir / "nginx.conf").write_text(
            "user root;" + _CONFIG.format(dir=self.dir, address=address, small="x" * 100))
        self.start()

    def start(self):
        self.process = self.ns.start("nginx", "-e", self.dir / "error.log", "-c",
                                     self.dir / "nginx.conf", stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.listens, 10, "nginx listens")

    def listens(self):
        check(self.process.poll() is None, lambda: (self.dir / "error.log").read_text())
        try:
            self.ns.connect(self.address, 443, 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
