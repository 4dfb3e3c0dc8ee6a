//! Serves the page and its WebSockets: `/camera/N` has frames and people (format: `pictures.rs`), `/news` the state of the
//! cameras and the statistics, as JSON.

use std::{net::TcpListener, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        DefaultBodyLimit, Path, Request, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use gstrtmpose::pose::{Side, Skeleton};
use tokio::sync::{Semaphore, watch};

use crate::{
    access::{Access, Refusal},
    pipeline::Result,
    stream::Stream,
};

/// WebSockets at once: each costs the memory of what is being sent.
const VIEWERS: usize = 256;
/// A viewer who accepts nothing for this long has gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest token, and largest message from a viewer on a WebSocket, who has nothing to say.
const LONGEST_REQUEST: usize = 4096;

pub struct Shared {
    pub access: Access,
    pub streams: Vec<Arc<Stream>>,
    /// The statistics and the cameras' states, as JSON.
    pub news: watch::Receiver<Arc<str>>,
    /// The user's own skeleton, from a file, which has no known name.
    pub skeleton: Option<&'static Skeleton>,
}

struct Server {
    shared: Shared,
    places: Semaphore,
}

/// Serves on a separate thread until the program ends.
pub fn serve(listener: TcpListener, shared: Shared) -> Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server: &'static Server = Box::leak(Box::new(Server { shared, places: Semaphore::new(VIEWERS) }));
    let open =
        Router::new().route("/", get(page)).route("/login", post(login)).route("/files/{name}", get(file));
    let closed = Router::new()
        .route("/skeletons/{name}", get(skeleton))
        .route("/news", any(news))
        .route("/camera/{number}", any(camera))
        .route_layer(middleware::from_fn_with_state(server, admitted));
    let router = open
        .merge(closed)
        .layer(middleware::from_fn_with_state(server, guarded))
        .layer(DefaultBodyLimit::max(LONGEST_REQUEST))
        .with_state(server);
    std::thread::Builder::new().name("web".to_string()).spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        })
    })?;
    Ok(())
}

const HEADERS: [(header::HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

async fn guarded(State(server): State<&'static Server>, request: Request, next: Next) -> Response {
    let mut response = match server.shared.access.comes_from_here(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn admitted(State(server): State<&'static Server>, request: Request, next: Next) -> Response {
    match server.shared.access.admits(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr,)*) => {
        &[$(($name, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

/// The page's data. It contains nothing secret.
const FILES: &[(&str, &str, &str)] = files! {
    "index.html": HTML,
    "login.html": HTML,
    "style.css": "text/css; charset=utf-8",
    "main.js": SCRIPT,
    "settings.js": SCRIPT,
    "tile.js": SCRIPT,
    "player.js": SCRIPT,
    "drawing.js": SCRIPT,
    "figures.js": SCRIPT,
    "socket.js": SCRIPT,
    "login.js": SCRIPT,
};

fn named(name: &str) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn page(State(server): State<&'static Server>, headers: HeaderMap) -> Response {
    match server.shared.access.admits(&headers) {
        Ok(()) => named("index.html"),
        Err((status, _)) => (status, named("login.html")).into_response(),
    }
}

async fn file(Path(name): Path<String>) -> Response {
    named(&name)
}

async fn login(
    State(server): State<&'static Server>,
    token: String,
) -> std::result::Result<Response, Refusal> {
    let cookie = server.shared.access.cookie(token.trim())?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

#[derive(serde::Serialize)]
struct Bones {
    names: &'static [&'static str],
    sides: Vec<i8>,
    /// Points that should be drawn small.
    fine: Vec<bool>,
    links: &'static [(u16, u16)],
}

async fn skeleton(State(server): State<&'static Server>, Path(name): Path<String>) -> Response {
    let own = server.shared.skeleton.filter(|skeleton| skeleton.name == name);
    let Some(skeleton) = own.or_else(|| Skeleton::by_name(&name)) else {
        return (StatusCode::NOT_FOUND, "Nothing is known of this skeleton but its points.").into_response();
    };
    let bones = Bones {
        names: skeleton.point_names(),
        sides: (0..skeleton.points)
            .map(|point| match skeleton.side(point) {
                Side::Left => -1,
                Side::Centre => 0,
                Side::Right => 1,
            })
            .collect(),
        fine: (0..skeleton.points).map(|point| skeleton.is_fine(point)).collect(),
        links: skeleton.links,
    };
    match serde_json::to_string(&bones) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Accepts a WebSocket, if there is room for it.
fn upgraded<F: Future<Output = Option<()>> + Send + 'static>(
    server: &'static Server,
    upgrade: WebSocketUpgrade,
    serve: impl FnOnce(WebSocket) -> F + Send + 'static,
) -> Response {
    let Ok(place) = server.places.try_acquire() else {
        let full = "As many watch as can at once. Close another page.";
        return (StatusCode::SERVICE_UNAVAILABLE, full).into_response();
    };
    let upgrade = upgrade.max_message_size(LONGEST_REQUEST).max_frame_size(LONGEST_REQUEST);
    upgrade.on_upgrade(move |socket| async move {
        serve(socket).await;
        drop(place);
    })
}

async fn camera(
    State(server): State<&'static Server>,
    Path(number): Path<usize>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(stream) = server.shared.streams.get(number) else {
        return (StatusCode::NOT_FOUND, "There is no such camera.").into_response();
    };
    upgraded(server, upgrade, move |mut socket| async move {
        let mut viewer = stream.viewer();
        loop {
            while let Some(bytes) = viewer.take() {
                send(&mut socket, Message::Binary(bytes)).await?;
            }
            tokio::select! {
                () = viewer.changed() => (),
                said = socket.recv() => drop(said?.ok()?),
            }
        }
    })
}

async fn news(State(server): State<&'static Server>, upgrade: WebSocketUpgrade) -> Response {
    let mut news = server.shared.news.clone();
    upgraded(server, upgrade, move |mut socket| async move {
        loop {
            let text = news.borrow_and_update().clone();
            send(&mut socket, Message::Text((&*text).into())).await?;
            tokio::select! {
                changed = news.changed() => changed.ok()?,
                said = socket.recv() => drop(said?.ok()?),
            }
        }
    })
}

/// Sends a message; none if the viewer has gone.
async fn send(socket: &mut WebSocket, message: Message) -> Option<()> {
    tokio::time::timeout(PATIENCE, socket.send(message)).await.ok()?.ok()
}
