//! `examples/web` as a program, without a browser. `make web-test` tests the page in one.

#[path = "../network_rig/mod.rs"]
mod network_rig;
mod rig;
#[path = "../../examples/web/stream.rs"]
#[allow(dead_code, reason = "the program uses the rest")]
mod stream;
mod viewers;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use gst::prelude::*;
use gst_video::prelude::*;
use network_rig::{
    init,
    process::{Folder, example, run, text, watched},
};
use rig::{Piece, Program, Socket, command, status};

/// A short video of a moving ball.
fn clip(folder: &Folder) -> PathBuf {
    init();
    let file = folder.path().join("clip.mkv");
    let line = format!(
        "videotestsrc num-buffers=15 pattern=ball ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
         matroskamux ! filesink location={}",
        file.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = pipeline.bus().unwrap().timed_pop_filtered(None, &wanted).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos);
    file
}

/// The start of a stream, and this number of frames.
fn pieces(socket: &mut Socket, frames: usize) -> Vec<Piece> {
    let pieces: Vec<_> = (0..=frames).map(|_| socket.piece()).collect();
    assert!(pieces[0].is_opening(), "{}", pieces[0].head);
    assert!(pieces[1..].iter().all(|piece| !piece.is_opening()), "nothing is left out");
    pieces
}

/// The pictures of a WebM stream: milliseconds, and the middle of the bright part, as fractions of the picture.
fn balls(pieces: &[Piece]) -> Vec<(f64, [f64; 2])> {
    init();
    let line = "appsrc name=from ! matroskademux ! vp8dec ! videoconvert ! video/x-raw,format=GRAY8 ! \
                appsink name=to sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let from = pipeline.by_name("from").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let to = pipeline.by_name("to").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for piece in pieces {
        from.push_buffer(gst::Buffer::from_slice(piece.bytes.clone())).unwrap();
    }
    from.end_of_stream().unwrap();
    let mut balls = Vec::new();
    while let Ok(sample) = to.pull_sample() {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let buffer = sample.buffer().unwrap();
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).unwrap();
        let (pixels, stride) = (frame.plane_data(0).unwrap(), frame.plane_stride()[0] as usize);
        let (mut sum, mut count) = ([0, 0], 0);
        for y in 0..info.height() as usize {
            for x in 0..info.width() as usize {
                if pixels[y * stride + x] > 128 {
                    (sum, count) = ([sum[0] + x, sum[1] + y], count + 1);
                }
            }
        }
        let middle = |sum, size| (sum as f64 / count as f64 + 0.5) / f64::from(size);
        let time = buffer.pts().unwrap().nseconds() as f64 / 1e6;
        balls.push((time, [middle(sum[0], info.width()), middle(sum[1], info.height())]));
    }
    pipeline.set_state(gst::State::Null).unwrap();
    balls
}

#[test]
fn each_frame_comes_with_its_own_people() {
    let (pieces, also) = watched("two viewers", || {
        let program = Program::start(command(&["test:ball"]));
        let (mut one, mut other) = (program.camera(0), program.camera(0));
        (pieces(&mut one, 60), pieces(&mut other, 5))
    });
    assert_eq!(pieces[0].bytes, also[0].bytes, "both watch the same stream");
    let balls = balls(&pieces);
    assert_eq!(balls.len(), 60);
    let mut moved = 0.0;
    for (index, (piece, (time, ball))) in pieces[1..].iter().zip(&balls).enumerate() {
        // WebM counts whole milliseconds.
        assert!((piece.time() - time).abs() <= 1.0, "{} is {time}", piece.time());
        assert_eq!(piece.head["skeleton"], "coco-17");
        let people = piece.head["people"].as_array().unwrap();
        assert_eq!(people.len(), 1, "{}", piece.head);
        let point = |axis: usize| people[0]["points"][0][axis].as_f64().unwrap();
        // In pixels of the sent picture.
        let apart = |other: &[f64; 2]| ((point(0) - other[0]) * 640.0).hypot((point(1) - other[1]) * 360.0);
        assert!(apart(ball) < 4.0, "frame {index}: {} is not at {ball:?}", people[0]["points"][0]);
        moved += balls.get(index + 1).map_or(0.0, |(_, next)| apart(next));
    }
    // The ball moves far enough to distinguish the next picture from this one.
    assert!(moved / 60.0 > 6.0, "{moved}");
}

#[test]
fn a_camera_that_fails_says_so_and_comes_back() {
    watched("a camera that comes back", || {
        let folder = Folder::new("web-away");
        let clip = clip(&folder);
        let later = folder.path().join("later.mkv");
        let mut command = command(&[
            "test:ball",
            later.to_str().unwrap(),
            "rtsp://viewer:secret@127.0.0.1:9/live?pwd=hidden",
        ]);
        command.arg("--repeat");
        let program = Program::start(command);
        let mut news = program.news();
        let away = news.news_until(|news| {
            news["cameras"][1]["state"] == "away" && news["cameras"][2]["state"] == "away"
        });
        let reason = away["cameras"][1]["reason"].as_str().unwrap();
        assert!(reason.contains("not found") || reason.contains("No such file"), "{reason}");
        let names: Vec<_> = (0..3).map(|index| away["cameras"][index]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["test:ball", "later.mkv", "127.0.0.1:9/live"]);
        for secret in ["viewer", "secret", "hidden"] {
            assert!(!away.to_string().contains(secret), "{away}");
        }
        // A page that watches this camera already gets the stream when it begins, and when it begins again.
        let mut watching = program.camera(1);
        std::fs::rename(clip, later).unwrap();
        news.news_until(|news| news["cameras"][1]["state"] == "running");
        let mut openings = 0;
        while openings < 3 {
            openings += usize::from(watching.piece().is_opening());
        }
    });
}

#[test]
fn figures_are_those_of_the_engine() {
    watched("figures", || {
        let program = Program::start(command(&["test:ball", "test:ball"]));
        let mut news = program.news();
        let first = news.news_until(|news| news["network"]["crops"].as_u64() > Some(0));
        let crops = first["network"]["crops"].as_u64();
        let later = news.news_until(|news| news["network"]["crops"].as_u64() > crops);
        for name in
            ["batches", "batch-size", "wait-ms-p50", "wait-ms-p99", "inference-ms-p50", "inference-ms-p99"]
        {
            assert!(later["network"][name].is_number(), "{name} is missing in {later}");
        }
        for camera in later["cameras"].as_array().unwrap() {
            assert!(camera["frames"].as_u64() > Some(0), "{later}");
            assert!(camera["figures"]["frames-skipped"].is_number(), "{later}");
        }
    });
}

/// Without viewers nothing is encoded, and the file still comes to its end.
#[test]
fn a_file_ends_also_when_nobody_watches() {
    let folder = Folder::new("web-end");
    let clip = clip(&folder);
    let mut command = command(&[clip.to_str().unwrap()]);
    command.args(["--listen", "127.0.0.1:0"]);
    let output = run(command);
    let text = text(&output);
    assert!(output.status.success() && text.contains("input 1: ended after 15 frames"), "{text}");
}

#[test]
fn the_page_is_whole_and_asks_nobody_else() {
    watched("the page", || {
        let program = Program::start(command(&["test:ball"]));
        let mut seen = BTreeSet::new();
        let mut open = vec!["/".to_string()];
        while let Some(path) = open.pop() {
            let answer = program.get(&path);
            assert_eq!(status(&answer), 200, "{path}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(
                head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
                "{head}"
            );
            assert!(!head.contains("access-control-allow"), "{head}");
            assert!(!body.contains("://") || !body.contains("http"), "{path} names another site");
            let links = body.split(['"', '\'']).filter_map(|word| {
                let file = word.strip_prefix("files/").or(word.strip_prefix("./"))?;
                Some(format!("/files/{file}"))
            });
            open.extend(links.filter(|link| seen.insert(link.clone())));
        }
        for file in ["style.css", "main.js", "player.js", "drawing.js", "socket.js"] {
            assert!(seen.contains(&format!("/files/{file}")), "{file} is not asked for: {seen:?}");
        }
        // The program serves nothing that the page does not use.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_known = ["index.html", "login.html", "login.js"].contains(&&*name);
            assert!(is_known || seen.contains(&format!("/files/{name}")), "{name} is not used");
        }
        assert_eq!(status(&program.get("/files/..%2fmain.rs")), 404);
        let bones = program.get("/skeletons/coco-17");
        assert!(bones.contains("\"left_wrist\"") && bones.contains("\"links\":[["), "{bones}");
        assert_eq!(status(&program.get("/skeletons/custom-3")), 404);
        assert_eq!(program.socket("camera/1", &[]).err().unwrap(), 404);
    });
}

#[test]
fn other_sites_are_refused() {
    watched("strangers", || {
        let program = Program::start(command(&["test:ball"]));
        let own = format!("http://127.0.0.1:{}", program.port);
        assert!(program.socket("news", &[("Origin", &own)]).is_ok());
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", ""] {
            for path in ["news", "camera/0"] {
                assert_eq!(program.socket(path, &[("Origin", origin)]).err().unwrap(), 403, "{origin}");
            }
        }
        // A foreign name that resolves to this machine.
        for (host, expected) in [
            ("evil.example", 403),
            ("evil.example:80", 403),
            ("127.0.0.1.evil.example", 403),
            ("", 403),
            ("localhost:1", 200),
            ("[::1]:8080", 200),
        ] {
            assert_eq!(status(&program.ask("GET", "/", &[("Host", host)], "")), expected, "{host}");
        }
        assert_eq!(program.socket("news", &[("Host", "evil.example")]).err().unwrap(), 403);
    });
}

const TOKEN: &str = "0123456789abcdef";

#[test]
fn with_a_token_only_who_knows_it_may_watch() {
    watched("the token", || {
        let folder = Folder::new("web-token");
        let file = folder.write("token", format!("{TOKEN}\n"));
        let mut command = command(&["test:ball"]);
        command.arg("--token").arg(format!("@{}", file.display()));
        let program = Program::start(command);
        for path in ["news", "camera/0"] {
            assert_eq!(program.socket(path, &[]).err().unwrap(), 401);
            assert_eq!(
                program.socket(path, &[("Authorization", "Bearer 0123456789abcdee")]).err().unwrap(),
                401
            );
        }
        assert_eq!(status(&program.get("/skeletons/coco-17")), 401);
        let page = program.get("/");
        assert!(
            status(&page) == 401 && page.contains("files/login.js") && !page.contains("main.js"),
            "{page}"
        );
        // The files of the login page.
        assert_eq!(
            [status(&program.get("/files/login.js")), status(&program.get("/files/style.css"))],
            [200; 2]
        );

        let wrong = program.ask("POST", "/login", &[], "0123456789abcdee");
        assert!(status(&wrong) == 401 && !wrong.to_ascii_lowercase().contains("set-cookie"), "{wrong}");
        assert_eq!(status(&program.ask("POST", "/login", &[], &"a".repeat(5000))), 413);
        let foreign = program.ask("POST", "/login", &[("Origin", "http://evil.example")], TOKEN);
        assert_eq!(status(&foreign), 403);
        let right = program.ask("POST", "/login", &[], TOKEN);
        let cookie = right
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .unwrap_or_else(|| panic!("{right}"));
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();
        assert!(!cookie.contains(TOKEN), "the token itself is not kept: {cookie}");

        for header in [("Cookie", format!("other=1; {cookie}")), ("Authorization", format!("Bearer {TOKEN}"))]
        {
            let header = (header.0, header.1.as_str());
            assert!(program.ask("GET", "/", &[header], "").contains("files/main.js"));
            assert!(program.socket("camera/0", &[header]).is_ok());
            // A foreign site cannot use its visitor's cookie.
            let foreign = program.socket("news", &[header, ("Origin", "http://evil.example")]);
            assert_eq!(foreign.err().unwrap(), 403);
        }
        assert_eq!(status(&program.ask("GET", "/", &[("Host", "any.name.example")], "")), 401);
    });
}

#[test]
fn what_cannot_work_is_told_at_once() {
    let failing = |arguments: &[&str]| {
        let mut command = example("web");
        command.arg("test:").args(arguments);
        let output = run(command);
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    };
    let needed = failing(&["--listen", "0.0.0.0:0"]);
    assert!(needed.contains("only with --token"), "{needed}");
    let mut open = command(&["test:ball"]);
    open.args(["--token", TOKEN]);
    assert_eq!(status(&Program::start_at("0.0.0.0:0", open).get("/")), 401);
    let short = failing(&["--token", "secret-word"]);
    assert!(short.contains("16 characters or more") && !short.contains("secret-word"), "{short}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let taken = failing(&["--listen", &address]);
    assert!(taken.contains(&address) && taken.contains("choose another with --listen"), "{taken}");
    let model = failing(&["--listen", "127.0.0.1:0", "--pose", "model-file=/nowhere.onnx"]);
    assert!(model.contains("The model file /nowhere.onnx cannot be read"), "{model}");
}

#[test]
fn more_viewers_than_there_are_places_are_refused() {
    watched("many viewers", || {
        let program = Program::start(command(&["test:ball"]));
        let mut viewers: Vec<_> = (0..256).map(|_| program.news()).collect();
        assert_eq!(program.socket("news", &[]).err().unwrap(), 503);
        // A place that a viewer leaves is free for the next.
        viewers.clear();
        while program.socket("news", &[]).is_err() {
            std::thread::yield_now();
        }
    });
}

/// Two viewers of a picture that always changes. One of them reads nothing until the other has received 300
/// frames.
#[test]
fn a_viewer_that_reads_nothing_holds_nobody_up_and_goes_on_at_the_newest() {
    let mut command = command(&["test:snow"]);
    command.args(["--bitrate", "200000000", "--size", "320"]);
    watched("a slow viewer", || {
        let program = Program::start(command);
        let (mut slow, mut quick) = (program.camera(0), program.camera(0));
        let first = slow.piece();
        assert!(first.is_opening());
        let newest = pieces(&mut quick, 300).last().unwrap().time();
        let mut read = Vec::new();
        loop {
            let piece = slow.piece();
            if piece.is_opening() {
                break;
            }
            read.push(piece.time());
        }
        let next = slow.piece().time();
        let before = read.last().unwrap();
        assert!(
            next - before > 100.0 && next > newest - 5000.0,
            "{before}, then {next}; the other is at {newest}"
        );
    });
}
