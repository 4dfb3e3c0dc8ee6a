"""models/fetch against a server on this machine: what arrives, what is refused, and what the list and the README say."""

import contextlib
import hashlib
import http.server
import importlib.machinery
import importlib.util
import io
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import threading
import unittest
import unittest.mock
import zipfile

import plugin

ROOT = plugin.ROOT
FETCH = ROOT / "models/fetch"
NETWORK = (ROOT / "tests/networks/dots-17.onnx").read_bytes()
LOADER = importlib.machinery.SourceFileLoader("fetch", str(FETCH))
fetch = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch", LOADER))
# Compiled here, so that no folder of bytecode appears beside the script.
exec(compile(FETCH.read_text(), str(FETCH), "exec"), fetch.__dict__)


def archive(members, **more):
    """A zip archive of these (name, bytes), uncompressed, so that its size is known."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as out:
        for name, content in members:
            out.writestr(name, content)
        for info, content in more.get("infos", []):
            out.writestr(info, content)
    return data.getvalue()


# An archive like OpenMMLab's: a folder with a long name, and other files beside the network.
RIGHT = archive([("20230831/rtmpose_onnx/a-b/deploy.json", "{}"), ("20230831/rtmpose_onnx/a-b/end2end.onnx", NETWORK)])
HALF = len(RIGHT) // 2


# A proxy of this machine must not be used for its own address.
os.environ["no_proxy"] = "127.0.0.1"


class Server:
    """Answers each GET with the next of its answers (finally the last one again and again), and records the requests."""

    def __init__(self, *answers, certificate=None):
        self.asked, self.answers = [], list(answers)
        self.over = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            scheme = "https"
        self.address = f"{scheme}://127.0.0.1:{self.http.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


def send(data=RIGHT, tag='"1"', ranges=True, cut=None, wait=None, length=None):
    """An answer: the data, from the start or from where Range says. `cut` ends the connection after this number of bytes."""

    def answer(handler):
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if ranges and asked and handler.headers.get("If-Range") == tag:
            start = int(asked[1])
        if start and start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if tag:
            handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(data) - start if length is None else length))
        handler.end_headers()
        handler.wfile.write(data[start:cut])
        handler.wfile.flush()
        if wait:
            wait().over.wait()

    return answer


def fail(code):
    return lambda handler: handler.send_error(code)


def redirect(address):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


class Fetch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = pathlib.Path(folder.name)
        self.folder = self.top / "a" / "b"

    def catalogue(self, address, **more):
        lines = {
            "name": "small",
            "skeleton": "coco-17",
            "crop": "256x192",
            "archive": "rtm/small-1.zip",
            "source": "the test",
        } | more
        file = self.top / "list.toml"
        file.write_text(
            f'server = "{address}"\n[[model]]\n' + "".join(f'{key} = "{value}"\n' for key, value in lines.items())
        )
        return str(file)

    def run_on(self, address, *arguments, names=("small",), **more):
        """Exit status, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = fetch.main(
                [*names, "--to", str(self.folder), "--catalogue", self.catalogue(address, **more), *arguments]
            )
        return status, out.getvalue(), err.getvalue()

    def right(self, result):
        status, out, err = result
        self.assertEqual(status, 0, err)
        self.assertEqual((self.folder / "small.onnx").read_bytes(), NETWORK)
        self.assertEqual(self.files(), [".lock", "SHA256SUMS", "small.onnx"])
        return out, err

    def refused(self, result, *words, left=()):
        status, out, err = result
        self.assertEqual(status, 1, (out, err))
        message = err.splitlines()[-1]
        for word in ("error: ", *words):
            self.assertIn(word, message)
        self.assertNotIn("Traceback", err)
        self.assertEqual(self.files(), sorted([".lock", *left]))
        return message

    def files(self):
        """The names of the files in the folder, after a check that no file was written elsewhere."""
        inside = sorted(p.name for p in self.folder.iterdir())
        self.assertEqual(sorted(p.name for p in self.top.rglob("*") if p.is_file()), sorted([*inside, "list.toml"]))
        return inside

    def pins(self):
        return dict(reversed(line.split("  ")) for line in (self.folder / "SHA256SUMS").read_text().splitlines())

    # What arrives

    def test_a_reader_of_the_list_may_stop_early(self):
        # A pipe whose reader has already closed it.
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([FETCH, "--list"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_the_network_arrives_and_is_pinned(self):
        with Server(send()) as server:
            out, err = self.right(self.run_on(server.address))
            self.assertEqual([path for path, _ in server.asked], ["/rtm/small-1.zip"])
            for words in (
                "17 key points (coco-17)",
                "crops of 256x192",
                f"model-file={self.folder}/small.onnx",
                str(self.folder / "SHA256SUMS"),
            ):
                self.assertIn(words, out)
            self.assertIn(f"small: 0.0 of {len(RIGHT) / 1e6:.1f} MB, 100 %", err)
            want = {"small.onnx": hashlib.sha256(NETWORK).hexdigest(), "small-1.zip": hashlib.sha256(RIGHT).hexdigest()}
            self.assertEqual(self.pins(), want)
            subprocess.run(
                ["sha256sum", "--check", "--ignore-missing", "--strict", "--quiet", "SHA256SUMS"],
                cwd=self.folder,
                check=True,
            )
            # A second time no request is made.
            out, _ = self.right(self.run_on(server.address))
            self.assertIn("is there already", out)
            self.assertEqual(len(server.asked), 1)

    def test_an_animal_is_told_to_name_its_skeleton(self):
        with Server(send()) as server:
            out, _ = self.right(self.run_on(server.address, skeleton="ap10k-17"))
            self.assertIn("small.onnx skeleton=ap10k-17", out)

    def test_a_broken_connection_goes_on_where_it_was(self):
        with Server(send(cut=HALF), send()) as server:
            _, err = self.right(self.run_on(server.address))
            self.assertIn(f"ended after {HALF} of {len(RIGHT)} bytes; continuing", err)
            (_, first), (_, second) = server.asked
            self.assertNotIn("Range", first)
            self.assertEqual((second["Range"], second["If-Range"]), (f"bytes={HALF}-", '"1"'))

    def test_the_next_run_goes_on_where_the_last_one_was(self):
        with Server(send(cut=HALF), fail(503), send()) as server:
            self.refused(self.run_on(server.address), "503", left=["small-1.zip.part", "small-1.zip.part-of"])
            self.right(self.run_on(server.address))
            self.assertEqual(server.asked[-1][1]["Range"], f"bytes={HALF}-")

    def test_another_version_is_fetched_from_its_beginning(self):
        with Server(send(b"x" * len(RIGHT), cut=HALF), send(tag='"2"')) as server:
            self.right(self.run_on(server.address))
            self.assertEqual(len(server.asked), 2)

    def test_without_a_version_it_begins_again(self):
        with Server(send(cut=HALF, tag=None), send(tag=None)) as server:
            self.right(self.run_on(server.address))
            self.assertTrue(all("Range" not in headers for _, headers in server.asked))

    def test_a_complete_download_is_not_asked_for_again(self):
        with Server(send()) as server:
            self.folder.mkdir(parents=True)
            (self.folder / "small-1.zip.part").write_bytes(RIGHT)
            (self.folder / "small-1.zip.part-of").write_text(f'{server.address}rtm/small-1.zip\n"1"\n')
            self.right(self.run_on(server.address))
            self.assertEqual(len(server.asked), 1)

    def test_a_useless_rest_is_thrown_away(self):
        with Server(send()) as server:
            self.folder.mkdir(parents=True)
            (self.folder / "small-1.zip.part").write_bytes(RIGHT + b"more")
            (self.folder / "small-1.zip.part-of").write_text(f'{server.address}rtm/small-1.zip\n"1"\n')
            self.refused(self.run_on(server.address), "cannot be continued and was removed. Run this again")
            self.right(self.run_on(server.address))

    def test_redirects_are_followed_on_this_machine(self):
        with Server(send()) as other, Server(redirect(f"{other.address}elsewhere.zip")) as server:
            self.right(self.run_on(server.address))
            self.assertEqual([path for path, _ in other.asked], ["/elsewhere.zip"])

    def test_by_hand_as_archive_and_as_file(self):
        given = self.top / "copied"
        given.write_bytes(RIGHT)
        self.addCleanup(given.unlink, missing_ok=True)
        with tempfile.TemporaryDirectory() as other:
            for name, data in (("copied.zip", RIGHT), ("end2end.onnx", NETWORK)):
                file = pathlib.Path(other) / name
                file.write_bytes(data)
                given.unlink(missing_ok=True)
                self.right(self.run_on("https://nowhere.invalid/", "--from", str(file)))
                self.assertTrue(file.exists())
                (self.folder / "small.onnx").unlink()
            text = pathlib.Path(other) / "page.html"
            text.write_text("<html>")
            self.refused(
                self.run_on("https://nowhere.invalid/", "--from", str(text)),
                "page.html is neither a zip archive nor an .onnx file",
                left=["SHA256SUMS"],
            )

    def test_a_file_put_there_by_hand_is_pinned(self):
        self.folder.mkdir(parents=True)
        (self.folder / "small.onnx").write_bytes(NETWORK)
        out, _ = self.right(self.run_on("https://nowhere.invalid/"))
        self.assertIn("is there already", out)
        self.assertEqual(self.pins(), {"small.onnx": hashlib.sha256(NETWORK).hexdigest()})

    # What is refused

    def test_always_cut(self):
        with Server(send(cut=HALF, ranges=False)) as server:
            message = self.refused(
                self.run_on(server.address),
                f"ended after {HALF} of {len(RIGHT)} bytes",
                "Run this again",
                left=["small-1.zip.part", "small-1.zip.part-of"],
            )
            self.assertIn(server.address, message)
            self.assertEqual(len(server.asked), 2, "an attempt that brings nothing is the last")

    def test_a_silent_server(self):
        with Server(send(cut=HALF, wait=lambda: server)) as server:
            self.refused(
                self.run_on(server.address, "--timeout", "1"),
                f"silent after {HALF} bytes",
                left=["small-1.zip.part", "small-1.zip.part-of"],
            )

    def test_a_checksum_that_is_known(self):
        with Server(send()) as server:
            found = hashlib.sha256(RIGHT).hexdigest()
            self.refused(self.run_on(server.address, sha256="0" * 64), found, "0" * 64, "not the published archive")
            self.right(self.run_on(server.address, sha256=found))

    def test_an_archive_that_has_changed(self):
        with Server(send(), send(archive([("end2end.onnx", NETWORK + b"\0")]), tag='"2"'), send()) as server:
            self.right(self.run_on(server.address))
            (self.folder / "small.onnx").unlink()
            self.refused(
                self.run_on(server.address),
                "small-1.zip has the checksum",
                "SHA256SUMS",
                "remove its line",
                left=["SHA256SUMS"],
            )
            self.right(self.run_on(server.address))

    def test_a_file_that_has_changed(self):
        with Server(send()) as server:
            self.right(self.run_on(server.address))
            (self.folder / "small.onnx").write_bytes(b"other")
            self.refused(
                self.run_on(server.address),
                "small.onnx is not the file that was downloaded; remove it",
                left=["SHA256SUMS", "small.onnx"],
            )

    def test_archives_that_hold_no_network(self):
        link = zipfile.ZipInfo("x/end2end.onnx")
        link.external_attr = 0o120777 << 16
        damaged = bytearray(RIGHT)
        damaged[RIGHT.index(NETWORK) + 100] ^= 1
        for data, words in [
            (b"<html>Sign in</html>", "not a zip archive"),
            (RIGHT[:-30], "not a zip archive"),
            (archive([("readme", "x")]), "contains 0 files end2end.onnx"),
            (archive([("a/end2end.onnx", "x"), ("b/end2end.onnx", "y")]), "contains 2 files end2end.onnx"),
            (archive([("end2end.onnx/", "")]), "contains 0 files"),
            (archive([("end2end.onnx", "")]), "is empty"),
            (archive([], infos=[(link, "/etc/passwd")]), "is a link"),
            (bytes(damaged), "is damaged"),
        ]:
            with self.subTest(words), Server(send(data)) as server:
                self.refused(self.run_on(server.address), words)

    def test_a_path_that_leads_elsewhere_is_not_followed(self):
        for name in ("../../../end2end.onnx", "/end2end.onnx", f"{self.top}/end2end.onnx"):
            with Server(send(archive([(name, NETWORK)]))) as server:
                self.right(self.run_on(server.address))
                (self.folder / "small.onnx").unlink()
                (self.folder / "SHA256SUMS").unlink()

    def test_sizes_are_bounded(self):
        with Server(send(length=2 << 30, cut=0)) as server:
            self.refused(self.run_on(server.address), "is larger than 1073741824 bytes")
        with unittest.mock.patch.object(fetch, "MOST_BYTES", len(NETWORK) - 1):
            bomb = io.BytesIO()
            with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
                out.writestr("end2end.onnx", bytes(len(NETWORK)))
            with Server(send(bomb.getvalue())) as server:
                self.refused(self.run_on(server.address), "end2end.onnx in", "is larger than")
            with Server(send(tag=None, length="")) as server:
                # The server sends no length, so the size shows only during the download.
                self.refused(self.run_on(server.address), "is larger than")

    def test_addresses_that_are_not_https(self):
        self.refused(self.run_on("http://models.example/"), "http://models.example/rtm/small-1.zip is no https address")
        with Server(redirect("http://models.example/x.zip")) as server:
            self.refused(self.run_on(server.address), "http://models.example/x.zip, to which", "not followed")
        with Server(redirect("file:///etc/passwd")) as server:
            self.refused(self.run_on(server.address), "file:///etc/passwd", "not allowed")

    def test_https_does_not_lead_to_http(self):
        pem = self.top / "server.pem"
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -batch"
        subprocess.run([*command.split(), "-keyout", pem, "-out", f"{pem}.crt"], check=True, stderr=subprocess.DEVNULL)
        certificate = pathlib.Path(f"{pem}.crt").read_text()
        with tempfile.TemporaryDirectory() as other, Server(send()) as plain:
            trusted = pathlib.Path(other) / "trusted.pem"
            trusted.write_text(certificate)
            both = pathlib.Path(other) / "both.pem"
            both.write_text(pem.read_text() + certificate)
            pem.unlink()
            pathlib.Path(f"{pem}.crt").unlink()

            def command(server, **environment):
                run = [FETCH, "small", "--to", self.folder, "--catalogue", self.catalogue(server.address)]
                done = subprocess.run(run, capture_output=True, text=True, env=os.environ | environment, timeout=300)
                return done.returncode, done.stdout, done.stderr

            with Server(redirect(plain.address + "x.zip"), send(), certificate=both) as server:
                self.refused(
                    command(server, SSL_CERT_FILE=str(trusted)),
                    f"{plain.address}x.zip, to which https://",
                    "not followed",
                )
                self.assertEqual(plain.asked, [])
                self.refused(command(server), "certificate")
                self.right(command(server, SSL_CERT_FILE=str(trusted)))

    def test_a_missing_page_and_a_missing_network(self):
        with Server(fail(404)) as server:
            self.refused(self.run_on(server.address), "404 Not Found", server.address)
        address = server.address  # closed by now
        message = self.refused(self.run_on(address), "cannot be reached (Connection refused)")
        self.assertIn("models/fetch small --from small-1.zip", message)

    def test_one_at_a_time(self):
        self.folder.mkdir(parents=True)
        with fetch.locked(self.folder):
            self.refused(self.run_on("https://nowhere.invalid/"), "another models/fetch is running")

    def test_names_that_are_not_in_the_list(self):
        status, _, err = self.run_on("https://nowhere.invalid/", names=("smal",))
        self.assertEqual((status, err), (1, "error: there is no model smal; models/fetch --list shows all\n"))
        status, _, err = self.run_on("https://nowhere.invalid/", name="../small")
        self.assertEqual(status, 1)
        self.assertIn("'../small' is not a valid file name", err)
        status, _, err = self.run_on("https://nowhere.invalid/", skeleton="mine")
        self.assertIn("small's skeleton, crop or source is not like", err)
        (self.top / "list.toml").write_text('[[model]]\nname = "small"\n')
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertEqual(fetch.main(["small", "--catalogue", str(self.top / "list.toml")]), 1)
        self.assertIn("without 'skeleton'", err.getvalue())

    # What it is for

    def test_a_launch_line_with_the_file_works(self):
        with Server(send()) as server:
            self.right(self.run_on(server.address))
        with tempfile.TemporaryDirectory() as other:
            line = f"gst-launch-1.0 -q videotestsrc num-buffers=3 ! videoconvert ! rtmposebatch execution-provider=cpu model-file={self.folder}/small.onnx ! fakesink"
            done = subprocess.run(
                line.split(), capture_output=True, text=True, env=plugin.environment(other), timeout=300
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Catalogue(unittest.TestCase):
    def setUp(self):
        self.models = fetch.read_catalogue(ROOT / "models/official.toml")

    def test_every_row_is_whole(self):
        points = {"coco-17", "halpe-26", "coco-wholebody-133", "hand-21", "face-106", "ap10k-17"}
        self.assertEqual({m["skeleton"] for m in self.models if m["use"] == "crop"}, points)
        self.assertEqual({m["skeleton"] for m in self.models if m["use"] == "one-stage"}, {"coco-17"})
        for column in ("name", "url"):
            self.assertEqual(len({m[column] for m in self.models}), len(self.models))
        for m in self.models:
            self.assertTrue(m["source"] and m["licence"], m)
            if not m["archive"].startswith("https://"):
                self.assertTrue(m["url"].startswith("https://download.openmmlab.com/mmpose/v1/projects/rtm"), m)
                self.assertEqual(m["licence"], "Apache-2.0 (mmpose)")
            if m["name"] == "rtmw3d-x":
                self.assertRegex(m["archive"], rf"/rtmw3d-x_[\w-]+-{m['crop']}-[\w-]+\.onnx$")
            elif m["use"] == "crop":
                self.assertRegex(m["archive"], rf"/onnx_sdk/rtm(pose|w)-[\w-]+_simcc-[\w-]+-{m['crop']}[\w-]*\.zip$")
            elif m["use"] == "one-stage":
                self.assertRegex(m["archive"], rf"/onnx_sdk/rtmo-\w_[\w-]+-{m['crop']}-[\w-]+\.zip$")
            else:
                self.assertRegex(m["archive"], r"/(onnx_sdk/yolox_\w+_8xb8-300e_humanart-\w+\.zip|yolox_\w+\.onnx|rfdetr_[\w]+\.onnx)$")
        for name in (
            "rtmpose-t",
            "rtmpose-s",
            "rtmpose-m",
            "rtmpose-l",
            "rtmpose-x",
            "rtmpose-m-halpe26",
            "dwpose-l",
            "rtmw-l",
            "rtmpose-m-hand",
            "rtmpose-m-face",
            "rtmpose-m-animal",
            "rtmw3d-x",
            "rtmo-s",
            "yolox-tiny",
            "yolox-s-coco",
            "rfdetr-m",
        ):
            fetch.find(self.models, name)

    def test_the_list_shows_every_row(self):
        done = subprocess.run([FETCH, "--list"], capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()[1:]
        rows = [line.split()[:3] for line in lines if not line.endswith(":")]
        uses = list(fetch.USES)
        models = sorted(self.models, key=lambda m: uses.index(m["use"]))
        self.assertEqual(rows, [[m["name"], m["skeleton"], m["crop"]] for m in models])
        self.assertEqual([line.rstrip(":") for line in lines if line.endswith(":")], list(fetch.USES.values()))
        for m in models:
            self.assertIn(m["licence"], done.stdout)

    def test_the_readme_has_the_same_rows(self):
        text = (ROOT / "models/README.md").read_text()
        for m in self.models:
            size = f"about {m['megabytes']} MB" if "megabytes" in m else "not known"
            if m["use"] == "detector":
                self.assertIn(f"| `{m['name']}` | {m['crop']} | {size} | {m['licence']} |", text)
            else:
                self.assertIn(f"| `{m['name']}` | {m['skeleton']} | {m['crop']} | {size} |", text)


if __name__ == "__main__":
    unittest.main()
