"""The page of examples/web in a Chromium without a window: what is drawn, when, and what its buttons do. `make web-test` runs it.

The inputs are a white ball of a live source, a grey one in a file, which an RTSP camera shows too until it is cut. The network finds the brightest dot: all
points of the one person are on the ball's middle."""
import collections
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import unittest

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/debug/examples/web"
POSE = f"execution-provider=cpu inference-region=full-frame overload=block model-file={ROOT}/tests/networks/dots-17.onnx"
# A folder for pictures of the page, if wanted.
SCREENSHOTS = os.environ.get("SCREENSHOTS")
TOKEN = "0123456789abcdef"
# Milliseconds: the machine may be busy.
PATIENCE = 60_000
BALL, CLIP, CAMERA = range(3)

# For the requested number of frames: the time of the frame that the browser reports as shown, and the places of
# the drawn points; the time of the frame that it shows by then, and the ball's place in it. Places are
# fractions of the tile. When requested from outside the page, this is called at each frame after the page's own
# callback.
MEASURE = """async ([index, frames]) => {
  const tile = document.querySelectorAll('.tile')[index];
  const [video, canvas] = [tile.querySelector('video'), tile.querySelector('canvas')];
  const [width, height] = [320, 180];
  const middle = (pixels, isBright) => {
    let [x, y, count] = [0, 0, 0];
    for (let at = 0; at < width * height; at += 1) {
      if (!isBright(pixels, 4 * at)) continue;
      x += at % width; y += Math.floor(at / width); count += 1;
    }
    return count ? [(x / count + 0.5) / width, (y / count + 0.5) / height] : null;
  };
  const pixels = (image, imageWidth, imageHeight) => {
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    // As on the page: the whole picture, in the middle.
    const scale = Math.min(width / imageWidth, height / imageHeight);
    const [w, h] = [scale * imageWidth, scale * imageHeight];
    context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
    return context.getImageData(0, 0, width, height).data;
  };
  const seen = [];
  await new Promise((done) => {
    const look = (_, { mediaTime }) => {
      const frame = new VideoFrame(video);
      seen.push({
        time: 1000 * mediaTime,
        drawn: middle(pixels(canvas, width, height), (data, at) => data[at + 3] > 128),
        shown: frame.timestamp / 1000,
        ball: middle(pixels(frame, video.videoWidth, video.videoHeight), (data, at) => data[at] > 128),
      });
      frame.close();
      if (seen.length < frames) video.requestVideoFrameCallback(look);
      else done();
    };
    video.requestVideoFrameCallback(look);
  });
  return seen;
}"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(*command):
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)


def end(process):
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def serve(*arguments):
    """The program, and its address."""
    program = start(PROGRAM, *arguments, "--listen", "127.0.0.1:0", "--pose", POSE, "--retry", "0.2")
    for line in program.stdout:
        if line.startswith("Watch at "):
            return program, line.split()[-1]
    raise AssertionError("the program has ended")


def apart(one, other):
    """The distance, in pixels of a picture of 640x360."""
    return ((one[0] - other[0]) * 640) ** 2 + ((one[1] - other[1]) * 360) ** 2


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        # As root Chromium has no sandbox. It opens only our own page.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        cls.browser = cls.playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=arguments)
        cls.addClassCleanup(cls.browser.close)

    def page(self, address, width=1280, height=800, **options):
        """A page in a new browser. Errors that the page reports fail the test."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        self.addCleanup(context.close)
        page, self.complaints = context.new_page(), []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        page.goto(address)
        return page

    def picture(self, page, name):
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


class Cameras(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.clip = f"{folder.name}/clip.mkv"
        subprocess.run(f"gst-launch-1.0 -q videotestsrc num-buffers=60 pattern=ball foreground-color=0xffb0b0b0 ! video/x-raw,width=320,height=240,framerate=30/1 ! "
                       f"vp8enc deadline=1 ! matroskamux ! filesink location={cls.clip}", shell=True, check=True)
        cls.port = free_port()
        cls.camera = None
        cls.turn_on()
        cls.addClassCleanup(lambda: end(cls.camera))
        cls.program, cls.address = serve("test:ball", cls.clip, f"rtsp://127.0.0.1:{cls.port}/camera-1", "--repeat")
        cls.addClassCleanup(lambda: end(cls.program))

    @classmethod
    def turn_on(cls):
        cls.camera = start(os.environ["SYSTEM_PYTHON"], ROOT / "examples/python/rtsp.py", "cameras", cls.clip, "--port", cls.port)

    def wall(self, **options):
        """The page, after pictures are shown."""
        page = self.page(self.address, **options)
        for index in (BALL, CLIP):
            expect(page.locator(".tile").nth(index)).to_contain_class("has-picture", timeout=PATIENCE)
        return page

    def tearDown(self):
        self.assertEqual(self.complaints, [])

    def switch(self, page, name):
        return page.get_by_role("switch", name=name)

    def test_people_are_drawn_on_their_own_picture(self):
        page = self.wall()
        for index, frames in ((BALL, 200), (CLIP, 150)):
            with self.subTest(index=index):
                seen = page.evaluate(MEASURE, [index, frames])
                balls = {round(frame["shown"]): frame["ball"] for frame in seen}
                known = [frame for frame in seen if round(frame["time"]) in balls]
                self.assertGreater(len(known), frames / 4)
                for frame in known:
                    self.assertLess(apart(frame["drawn"], balls[round(frame["time"])]), 6 ** 2, frame)
                # When the browser reports a frame it may already show the next.
                off = [round((frame["shown"] - frame["time"]) * 30 / 1000) for frame in seen]
                print(f"frames off: {sorted(collections.Counter(off).items())}")
                self.assertLess(len([frames for frames in off if frames not in (0, 1)]), frames / 20)
                times = [frame["time"] for frame in seen]
                self.assertEqual(times, sorted(times), "also when the file begins again")
        self.picture(page, "wall")

    def test_two_viewers_see_the_same(self):
        pages = [self.wall(), self.wall()]
        for page in pages:
            # The page starts with the first frame that comes, and does not wait for a key frame.
            starts = page.evaluate("[...document.querySelectorAll('.has-picture video')].map((video) => video.buffered.start(0))")
            self.assertGreater(len(starts), 1)
            self.assertEqual([round(start, 2) for start in starts], [1] * len(starts))
            for frame in page.evaluate(MEASURE, [BALL, 30])[5:]:
                self.assertLess(apart(frame["drawn"], frame["ball"]), 30 ** 2)

    def test_figures_move(self):
        page = self.wall()
        charts = page.locator("#charts figure:visible")
        expect(charts).to_have_count(5)
        lines = lambda: [charts.nth(index).locator(".first").get_attribute("d") for index in range(5)]
        before = lines()
        page.wait_for_function("before => [...document.querySelectorAll('#charts figure:not([hidden]) .first')]"
                               ".every((line, index) => line.getAttribute('d') !== before[index])", arg=before)
        expect(charts.filter(has_text="Frames per second").locator(".now")).not_to_have_text("0.0")
        words = page.get_by_role("img", name="Inference: p50").get_attribute("aria-label")
        self.assertRegex(words, r"p50 [\d.]+ ms, p99 [\d.]+ ms; in the last \d+ seconds")
        expect(page.locator(".tile").nth(BALL).locator(".figures")).to_contain_text("frames/s")

    def test_figures_of_a_gpu_are_shown_where_there_are_some(self):
        page = self.wall()
        page.evaluate("""async () => {
          const { Figures } = await import('./files/figures.js');
          const figures = new Figures(document.getElementById('charts'));
          const news = (step) => ({
            cameras: [{ frames: 30 * step, figures: { 'frames-skipped': 3 * step } }],
            network: { batches: 10 * step, crops: 40 * step, 'batch-size': 8, 'wait-ms-p50': 1, 'wait-ms-p99': 2, 'inference-ms-p50': 3,
                       'inference-ms-p99': 4, 'gpu-utilization': 62, 'gpu-memory': 3 * 2 ** 30 },
          });
          figures.tell(news(0));
          await new Promise((done) => setTimeout(done, 600));
          window.words = figures.tell(news(1));
        }""")
        shown = {}
        for figure in page.locator("#charts figure:visible").all():
            shown[figure.locator(".name").inner_text()] = figure.locator(".now").inner_text()
        self.assertEqual({name: shown.get(name) for name in ("Batch fill", "Wait", "Inference", "GPU", "GPU's memory")},
                         {"Batch fill": "50 %", "Wait": "1.0, 2.0 ms", "Inference": "3.0, 4.0 ms", "GPU": "62 %", "GPU's memory": "3.0 GiB"})
        self.assertRegex(page.evaluate("words")[0], r"^\d+ frames/s, [\d.]+ skipped$")

    def test_a_camera_is_cut_and_comes_back(self):
        page = self.wall()
        tile = page.locator(".tile").nth(CAMERA)
        expect(tile).to_have_attribute("data-state", "running", timeout=PATIENCE)
        expect(tile).to_contain_class("has-picture", timeout=PATIENCE)
        end(self.camera)
        expect(tile.get_by_role("status")).to_contain_text("Lost: ", timeout=PATIENCE)
        self.picture(page, "away")
        expect(page.locator("#connection")).to_have_text("3 cameras, 1 without a picture")
        # The other cameras continue meanwhile.
        page.evaluate(MEASURE, [BALL, 10])
        type(self).turn_on()
        expect(tile.get_by_role("status")).to_be_empty(timeout=PATIENCE)
        expect(page.locator("#connection")).to_have_text("3 cameras")
        page.evaluate(MEASURE, [CAMERA, 10])

    def test_what_is_drawn_is_switched(self):
        page = self.wall()
        drawn = lambda: page.evaluate(MEASURE, [BALL, 3])[-1]["drawn"]
        self.assertIsNotNone(drawn())
        for name in ("Points", "Skeletons"):
            self.switch(page, name).click()
        self.assertIsNone(drawn())
        self.switch(page, "Boxes").click()
        # The person's box is the whole picture.
        self.assertLess(apart(drawn(), [0.5, 0.5]), 3 ** 2)
        self.switch(page, "Boxes").click()
        self.switch(page, "Points").click()
        self.assertIsNotNone(drawn())
        # A grey ball has a lower score.
        score = page.get_by_role("slider", name="Score from")
        grey = lambda: page.evaluate(MEASURE, [CLIP, 3])[-1]["drawn"]
        self.assertIsNotNone(grey())
        score.fill("0.8")
        self.assertIsNone(grey())
        self.assertIsNotNone(drawn())
        page.reload()
        expect(score).to_have_value("0.8")
        expect(self.switch(page, "Skeletons")).not_to_be_checked()

    def test_a_pause_keeps_the_picture_and_names_points(self):
        page = self.wall()
        tile = page.locator(".tile").nth(BALL)
        tile.get_by_role("button", name="Pause").click()
        state = "tile => [tile.querySelector('video').currentTime, tile.querySelector('canvas').toDataURL()]"
        before = tile.evaluate(state)
        # The other camera continues for a while.
        page.evaluate(MEASURE, [CLIP, 20])
        self.assertEqual(tile.evaluate(state), before)
        place = tile.evaluate("""tile => {
          const canvas = tile.querySelector('canvas');
          const box = canvas.getBoundingClientRect();
          const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
          let [x, y, count] = [0, 0, 0];
          for (let at = 0; at < canvas.width * canvas.height; at += 1) {
            if (pixels[4 * at + 3] < 128) continue;
            x += at % canvas.width; y += Math.floor(at / canvas.width); count += 1;
          }
          return [box.left + x / count * box.width / canvas.width, box.top + y / count * box.height / canvas.height];
        }""")
        page.mouse.move(*place)
        expect(tile.locator(".hint")).to_have_text("nose, 1.00")
        self.picture(page, "hint")
        page.mouse.move(place[0], place[1] + 60 if place[1] < 200 else place[1] - 60)
        expect(tile.locator(".hint")).to_be_hidden()
        tile.get_by_role("button", name="Resume").click()
        page.evaluate(MEASURE, [BALL, 10])
        page.get_by_role("button", name="Pause all").click()
        for index in (BALL, CLIP):
            expect(page.locator(".tile").nth(index).get_by_role("button", name="Resume")).to_be_visible()

    def test_the_keyboard_is_enough(self):
        page = self.wall()
        large = page.locator(".tile.large")
        button = page.locator(".tile").nth(BALL).get_by_role("button", name="Enlarge")
        for _ in range(20):
            page.keyboard.press("Tab")
            if button.evaluate("button => button === document.activeElement"):
                break
        page.keyboard.press("Enter")
        expect(large.get_by_role("heading")).to_have_text("test:ball")
        row = large.get_by_role("table", name="People").get_by_role("row").nth(1)
        expect(row).to_contain_text("17 of 17")
        self.picture(page, "large")
        page.keyboard.press("ArrowRight")
        expect(large.get_by_role("heading")).to_have_text("clip.mkv")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        expect(large.get_by_role("heading")).to_contain_text("camera-1")
        page.keyboard.press("Escape")
        expect(large).to_have_count(0)

    def test_light_and_dark_wide_and_narrow(self):
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 320)):
            with self.subTest(scheme=scheme, width=width):
                page = self.wall(width=width, color_scheme=scheme)
                self.picture(page, f"{scheme}-{width}")
                background = page.evaluate("getComputedStyle(document.body).backgroundColor")
                shade = int(background.removeprefix("rgb(").split(",")[0])
                self.assertEqual(shade < 128, scheme == "dark", background)
                self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
                found = Axe().run(page)
                self.assertEqual(found.violations_count, 0, found.generate_report())
        # The choice on the page takes precedence over the system's.
        page.get_by_label("Colours").select_option("light")
        self.assertEqual(page.evaluate("getComputedStyle(document.documentElement).colorScheme"), "light")


class Token(Case):
    def test_only_who_knows_the_token_sees_the_page(self):
        program, address = serve("test:ball", "--token", TOKEN)
        self.addCleanup(end, program)
        page = self.page(address)
        expect(page.get_by_role("button", name="Watch")).to_be_visible()
        self.assertEqual(page.evaluate("""async () => {
          const socket = new WebSocket('ws://' + location.host + '/camera/0');
          return new Promise((done) => { socket.onopen = () => done('open'); socket.onerror = () => done('refused'); });
        }"""), "refused")
        page.get_by_label("Token").fill("fedcba9876543210")
        page.get_by_label("Token").press("Enter")
        expect(page.get_by_role("alert")).to_have_text("The token is missing or wrong.")
        self.picture(page, "token")
        found = Axe().run(page)
        self.assertEqual(found.violations_count, 0, found.generate_report())
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Watch").click()
        expect(page.locator(".tile")).to_contain_class("has-picture", timeout=PATIENCE)
        self.assertEqual(page.evaluate("document.cookie"), "", "no script reads the token")
        # A link with the token.
        page = self.page(f"{address}#token={TOKEN}")
        expect(page.locator(".tile")).to_contain_class("has-picture", timeout=PATIENCE)
        self.assertNotIn(TOKEN, page.url)


if __name__ == "__main__":
    unittest.main()
