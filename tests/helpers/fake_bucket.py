"""Buckets (gs://) on the local disk.

Paths of etils are mapped to a folder, and a server on this machine answers TensorStore and
array_record, which speak HTTP with Google's storage.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import threading
from unittest import mock
import urllib.parse

from etils.epath import backend, gpath
from orbax.checkpoint._src.path import gcs_utils


class FolderBackend(backend._OsPathBackend):
  """The files of gs:// paths, in a folder."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder

  def _local(self, path):
    return os.fspath(path).replace("gs://", f"{self._folder}/", 1)

  def listdir(self, path):
    return super().listdir(self._local(path))

  def glob(self, path):
    return [f"gs://{os.path.relpath(found, self._folder)}"
            for found in super().glob(self._local(path))]

  def rename(self, path, dst):
    super().rename(self._local(path), self._local(dst))

  def replace(self, path, dst):
    super().replace(self._local(path), self._local(dst))


def _map_first(name):
  method = getattr(backend._OsPathBackend, name)
  return lambda self, path, *more, **options: method(self, self._local(path), *more, **options)


for _name in ("open", "exists", "isdir", "makedirs", "mkdir", "rmtree", "remove", "stat"):
  setattr(FolderBackend, _name, _map_first(_name))
FolderBackend.__abstractmethods__ = frozenset()


class _Handler(http.server.BaseHTTPRequestHandler):
  """The part of Google's JSON interface that TensorStore and array_record use."""

  protocol_version = "HTTP/1.1"
  # Otherwise each answer waits 40 ms for the client to acknowledge its headers.
  disable_nagle_algorithm = True
  folder: pathlib.Path

  def log_message(self, *unused):
    pass

  def _answer(self, status, body=b"", **headers):
    self.send_response(status)
    for name, value in {"Content-Length": len(body), **headers}.items():
      self.send_header(name.replace("_", "-"), str(value))
    self.end_headers()
    self.wfile.write(body)

  def _parse(self):
    url = urllib.parse.urlsplit(self.path)
    options = dict(urllib.parse.parse_qsl(url.query))
    found = re.fullmatch(r"/(?:upload/|download/)?storage/v1/b/([^/]+)/o(?:/(.+))?", url.path)
    if not found:
      return None, "", options
    name = options["name"] if "name" in options else urllib.parse.unquote(found[2] or "")
    return self.folder / found[1], name, options

  def _describe(self, bucket, path):
    state = path.stat()
    return {"name": path.relative_to(bucket).as_posix(), "size": str(state.st_size),
            "generation": str(state.st_mtime_ns)}

  def do_GET(self):
    bucket, name, options = self._parse()
    if bucket is None:
      self._answer(404)
    elif not name:
      paths = sorted(path for path in bucket.rglob("*") if path.is_file())
      rows = [self._describe(bucket, path) for path in paths]
      inside = [row for row in rows if options.get("startOffset", "") <= row["name"]
                and row["name"] < options.get("endOffset", "\U0010ffff")]
      self._answer(200, json.dumps({"items": inside}).encode(), Content_Type="application/json")
    elif not (bucket / name).is_file():
      self._answer(404)
    else:
      self._send_content(bucket, bucket / name)

  def _send_content(self, bucket, path):
    content, headers = path.read_bytes(), {}
    headers["X-Goog-Generation"] = self._describe(bucket, path)["generation"]
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    if not wanted:
      self._answer(200, content, **headers)
      return
    size = len(content)
    start = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
    end = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    self._answer(206, content[start:end + 1], **headers)

  def do_POST(self):
    bucket, name, options = self._parse()
    content = self.rfile.read(int(self.headers["Content-Length"]))
    path = bucket / name
    now = self._describe(bucket, path)["generation"] if path.is_file() else "0"
    if options.get("ifGenerationMatch", now) != now:
      self._answer(412)
      return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    self._answer(200, json.dumps(self._describe(bucket, path)).encode(),
                 Content_Type="application/json")

  def do_DELETE(self):
    bucket, name, _ = self._parse()
    (bucket / name).unlink(missing_ok=True)
    self._answer(204)


@contextlib.contextmanager
def serve_buckets(folder: pathlib.Path):
  """Makes gs://NAME the subfolder NAME of a folder, for as long as the context lasts.

  TensorStore reads the address of the server once in a process: of several contexts in one
  process only the first works.
  """
  handler = type("Handler", (_Handler,), {"folder": folder})
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  address = f"127.0.0.1:{server.server_port}"
  environment = {"TENSORSTORE_GCS_HTTP_URL": f"http://{address}", "GCE_METADATA_ROOT": address,
                 "CLOUD_STORAGE_EMULATOR_ENDPOINT": f"http://{address}"}
  with (mock.patch.dict(os.environ, environment),
        mock.patch.dict(gpath._PREFIX_TO_BACKEND, {"gs": FolderBackend(folder)}),
        mock.patch.object(gcs_utils, "is_hierarchical_namespace_enabled", return_value=False)):
    yield
  server.shutdown()
  server.server_close()
