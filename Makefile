# The README's commands. Each is a script in scripts/, with a description at its top.
.DEFAULT_GOAL := help
.PHONY: help setup demo camera web test web-test journeys fuzz audit parity docs bench tracking sports soak valgrind schedules servers repeat install-user uninstall-user deb arm64-test clean distclean

help:
	@echo "make setup           install what building and running needs (first prints what, how large and where)"
	@echo "                     GPU=1 also what NVIDIA GPUs need: ONNX Runtime for CUDA and NVIDIA's libraries (2 to 3 GB)"
	@echo "make demo            set up, build, run on a real video: out/demo.mp4, out/demo.png"
	@echo "                     VIDEO=file: another video, or a photograph; DETECTOR=file.onnx: find people with a detector"
	@echo "make camera          show a camera with skeletons in a window; DEVICE=/dev/video1 chooses the camera"
	@echo "make web             show a video in the browser, at http://127.0.0.1:8080/; VIDEO and DETECTOR as above"
	@echo "make install-user    install the plugin for all GStreamer programs of this user"
	@echo "make uninstall-user  remove it again"
	@echo "make deb             make a Debian package in out/, to be installed with apt"
	@echo "                     ARCH=arm64: for ARM64, on Debian 12 on x86-64 (downloads compiler and libraries, 350 MB)"
	@echo "make test            run all tests, with the time of each group"
	@echo "make arm64-test      test the ARM64 build under QEMU (on Debian 12 on x86-64)"
	@echo "make web-test        test the page of make web in Chromium (downloads Debian's chromium and Playwright, 160 MB)"
	@echo "make journeys        test what users do after an installation, also in bare Debians (as root; make test: a short form)"
	@echo "make fuzz            look for harmful input, MINUTES=5 for each kind (needs nightly Rust and cargo-fuzz)"
	@echo "make audit           check licences, sources and known vulnerabilities of the crates"
	@echo "make parity          compare with rtmlib, stage by stage, over 1,000 boxes (make test: a short form)"
	@echo "make docs            make a website of the README and docs/ in out/docs, links checked (downloads mdBook, 17 MB)"
	@echo "make bench           run the benchmarks"
	@echo "make tracking        measure how well people are found and tracked in real videos (downloads 280 MB, takes long)"
	@echo "make sports          test rtmposejson's files in Pose2Sim and Sports2D (downloads 250 MB)"
	@echo "make servers         test real inference servers that are stopped and killed (downloads Triton and MLServer, 1 GB)"
	@echo "make soak            endurance test: random sequences, memory and threads; MINUTES=40 is the long form"
	@echo "make valgrind        run the element's tests under valgrind (apt-get install valgrind)"
	@echo "make schedules       test the queue and the engine under many orders of their threads' steps"
	@echo "make repeat          look for tests that sometimes fail: RUNS=20 of each program, SIDE=8 of them at once"
	@echo "make clean           remove what was built (target/, build/, out/)"
	@echo "make distclean       remove also what was downloaded (.deps/)"

setup demo camera web test web-test journeys fuzz audit parity docs bench tracking sports soak valgrind schedules servers repeat install-user uninstall-user deb arm64-test:
	@scripts/$@

clean:
	rm -rf target build out

distclean: clean
	rm -rf .deps
