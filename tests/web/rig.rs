//! The program, and a browser's side of its connections.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use serde_json::Value;
use tungstenite::{
    Message, WebSocket,
    client::{IntoClientRequest, client},
    http::StatusCode,
};

use crate::network_rig::{
    network,
    process::{Running, example},
};

/// The program with a network that finds dots, and one crop a frame: the whole frame. It waits for the network.
pub fn command(inputs: &[&str]) -> Command {
    let mut command = example("web");
    command.args(inputs).args(["--retry", "0.05", "--pose"]).arg(format!(
        "execution-provider=cpu inference-region=full-frame overload=block model-file={}",
        network("dots-17").display()
    ));
    command
}

pub struct Program {
    /// The program, which ends when this is dropped.
    _running: Running,
    pub port: u16,
}

impl Program {
    pub fn start(command: Command) -> Self {
        Self::start_at("127.0.0.1:0", command)
    }

    pub fn start_at(listen: &str, mut command: Command) -> Self {
        command.args(["--listen", listen]);
        let mut running = Running::start(command);
        let port = loop {
            let line = running.line().expect("the program goes on");
            if let Some(address) = line.strip_prefix("Watch at http://127.0.0.1:") {
                break address.split('/').next().unwrap().parse().unwrap();
            }
        };
        Self { _running: running, port }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// The whole answer to a request; `body` may be empty.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut stream = self.connect();
        let own = [("Host", format!("127.0.0.1:{}", self.port))];
        let own = own.iter().filter(|(name, _)| headers.iter().all(|(known, _)| known != name));
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .chain(own.map(|(name, value)| format!("{name}: {value}\r\n")))
            .collect();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn get(&self, path: &str) -> String {
        self.ask("GET", path, &[], "")
    }

    /// A WebSocket, or why there is none.
    pub fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, StatusCode> {
        let mut request = format!("ws://127.0.0.1:{}/{path}", self.port).into_client_request().unwrap();
        for (name, value) in headers {
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match client(request, self.connect()) {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub fn camera(&self, number: usize) -> Socket {
        self.socket(&format!("camera/{number}"), &[]).unwrap()
    }

    pub fn news(&self) -> Socket {
        self.socket("news", &[]).unwrap()
    }
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub struct Socket(WebSocket<TcpStream>);

/// A message of a camera.
pub struct Piece {
    pub head: Value,
    pub bytes: Vec<u8>,
}

impl Piece {
    pub fn is_opening(&self) -> bool {
        self.head.get("type").is_some()
    }

    pub fn time(&self) -> f64 {
        self.head["time"].as_f64().unwrap()
    }
}

impl Socket {
    pub fn piece(&mut self) -> Piece {
        let Message::Binary(bytes) = self.0.read().unwrap() else { panic!("pieces are binary") };
        let (length, rest) = bytes.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (head, piece) = rest.split_at(length);
        Piece { head: serde_json::from_slice(head).unwrap(), bytes: piece.to_vec() }
    }

    pub fn news(&mut self) -> Value {
        let Message::Text(text) = self.0.read().unwrap() else { panic!("news are text") };
        serde_json::from_str(&text).unwrap()
    }

    /// Reads news until `is_wanted` accepts one.
    pub fn news_until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let news = self.news();
            if is_wanted(&news) {
                return news;
            }
        }
    }
}
