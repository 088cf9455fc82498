# SPDX-License-Identifier: BSD-2-Clause
"""Raw requests and responses, spelled out."""

A = b"http://10.2.0.2"
HOST = b"Host: 10.2.0.2\r\n"


def ask(path=b"/x", *lines, method=b"GET", version=b"1.1", body=b""):
    return (method + b" " + A + path + b" HTTP/" + version + b"\r\n" + HOST +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


def response(*lines, status=b"200 OK", body=b"", version=b"1.1"):
    return (b"HTTP/" + version + b" " + status + b"\r\n" +
            b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body)


CHUNKED = b"Transfer-Encoding: chunked"
EMPTY = b"Content-Length: 0"
