# The README's commands. Each is a script in scripts/, which says at its top what it does.
.DEFAULT_GOAL := help
.PHONY: help setup demo camera web test web-test journeys fuzz audit parity bench tracking sports soak valgrind schedules servers repeat install-user uninstall-user deb arm64-test clean distclean

help:
	@echo "make setup           install what building and running needs (says first what, how large and where)"
	@echo "                     GPU=1 also what NVIDIA GPUs need: ONNX Runtime for CUDA and NVIDIA's libraries (2 to 3 GB)"
	@echo "make demo            set up, build, run on a real video: out/demo.mp4, out/demo.png"
	@echo "                     VIDEO=file takes another video, or a photograph; DETECTOR=file.onnx a detector that finds the people"
	@echo "make camera          the same on a camera, in a window; DEVICE=/dev/video1 chooses the camera"
	@echo "make web             the same in the browser, at http://127.0.0.1:8080/; VIDEO and DETECTOR as above"
	@echo "make install-user    put the plugin where GStreamer finds it in every program of this user"
	@echo "make uninstall-user  remove it from there"
	@echo "make deb             a package for Debian in out/, to be installed with apt"
	@echo "                     ARCH=arm64: for ARM64, on Debian 12 on x86-64 (fetches compiler and libraries, 350 MB)"
	@echo "make test            all tests, with the time of each group"
	@echo "make arm64-test      what is built for ARM64, under QEMU (on Debian 12 on x86-64)"
	@echo "make web-test        the page of make web in a Chromium without a window (fetches Debian's chromium and Playwright, 160 MB)"
	@echo "make journeys        what users do, from an installation: also what needs bare Debians (as root; make test: a short form)"
	@echo "make fuzz            looks for input that does harm, MINUTES=5 for each kind (needs nightly Rust and cargo-fuzz)"
	@echo "make audit           licences, sources and known weaknesses of the crates that are used"
	@echo "make parity          the element against rtmlib, stage by stage, over 1,000 boxes (make test: a short form)"
	@echo "make bench           the benchmarks"
	@echo "make tracking        how well people are found and followed in real videos (downloads 280 MB, takes long)"
	@echo "make sports          rtmposejson's files in Pose2Sim and Sports2D: points in space, angles (downloads 250 MB)"
	@echo "make servers         batches on real inference servers, which are stopped and killed (fetches Triton and MLServer, 1 GB)"
	@echo "make soak            endurance: random sequences, memory and threads over time; MINUTES=40 is the long form"
	@echo "make valgrind        the element's tests under valgrind (apt-get install valgrind)"
	@echo "make schedules       the queue and the engine under many orders of their threads' steps"
	@echo "make repeat          looks for tests that sometimes fail: RUNS=20 of each program, SIDE=8 of them at once"
	@echo "make clean           remove what was built (target/, build/, out/)"
	@echo "make distclean       also what was fetched (.deps/)"

setup demo camera web test web-test journeys fuzz audit parity bench tracking sports soak valgrind schedules servers repeat install-user uninstall-user deb arm64-test:
	@scripts/$@

clean:
	rm -rf target build out

distclean: clean
	rm -rf .deps
