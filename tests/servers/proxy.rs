//! A proxy on loopback that loses bytes of a server's answers. (From a request without TLS they would be missing unseen: HTTP/2
//! has no checksums, and the server would answer to another picture.)

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// While the proxy loses bytes, it loses one of this number.
const ONE_OF: usize = 997;

/// Forwards connections to a server.
pub struct Proxy {
    pub at: SocketAddr,
    loses: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (loses, ended) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (loses_too, has_ended) = (loses.clone(), ended.clone());
        let accept = move || {
            for client in listener.incoming() {
                if has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
                for (from, to, loses) in [(&client, &server, None), (&server, &client, Some(&loses_too))] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let loses = loses.cloned().unwrap_or_default();
                    std::thread::spawn(move || pass_on(from, to, &loses));
                }
            }
        };
        let thread = Some(std::thread::spawn(accept));
        Self { at, loses, ended, thread }
    }

    pub fn lose_bytes(&self, loses: bool) {
        self.loses.store(loses, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.at);
        let _ = self.thread.take().unwrap().join();
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, loses: &AtomicBool) {
    let mut bytes = [0; 4096];
    let mut passed = 0;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut kept = Vec::with_capacity(count);
        for byte in &bytes[..count] {
            passed += 1;
            if passed % ONE_OF != 0 || !loses.load(Ordering::SeqCst) {
                kept.push(*byte);
            }
        }
        if to.write_all(&kept).is_err() {
            break;
        }
    }
    // Ends the other direction, too.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
