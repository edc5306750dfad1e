//! HTTP servers for tests: real sockets on loopback, each connection a thread, so that a server can do what no server
//! library lets it do.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A server and what it saw.
pub(crate) struct Served {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The heads (and form bodies) of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves every request with `answer`, which writes what it likes; the connection stays open while it returns true.
pub(crate) fn serve(answer: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static) -> Served {
    serve_by_request(move |_, stream| answer(stream))
}

/// The same, where the answer depends on the request.
pub(crate) fn serve_by_request(
    answer: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let served = Served {
        port: listener.local_addr().unwrap().port(),
        connections: Arc::default(),
        requests: Arc::default(),
    };
    let (connections, requests) = (served.connections.clone(), served.requests.clone());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            let (answer, requests) = (answer.clone(), requests.clone());
            std::thread::spawn(move || {
                while let Some(request) = read_request(&mut stream) {
                    requests.lock().unwrap().push(request.clone());
                    if !answer(&request, &mut stream) {
                        return;
                    }
                }
            });
        }
    });
    served
}

/// Serves every request with status, further header lines (each with its end) and body.
pub(crate) fn serve_page(
    status: &'static str,
    headers: &'static str,
    body: impl Into<String>,
) -> Served {
    let body = body.into();
    serve(move |stream| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .is_ok()
    })
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(|n| n.trim().parse().unwrap())
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).ok()?)
}

/// A port on which nothing listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
