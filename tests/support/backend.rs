//! A back end for tests: HTTP/1.1 on a thread per connection, which does to each request what the
//! test says.
#![allow(dead_code)] // each property uses a part of it

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use serde_json::Value;

use super::session::PATIENCE;

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    /// The number of its connection.
    pub(crate) connection: usize,
}

/// What becomes of it.
pub(crate) enum Reply {
    /// A status and a body.
    Say(u16, String),
    /// Nothing: the connection stays open until the server closes it, which the sender is told.
    Hang,
    /// The connection ends without a word.
    Die,
    /// These bytes, and then the end.
    Raw(Vec<u8>),
    /// A body of 1 GiB, or as much of it as is taken.
    Flood,
}

impl Reply {
    /// Status 200 with this.
    pub(crate) fn json(value: &Value) -> Self {
        Self::Say(200, value.to_string())
    }
}

/// A back end; its threads end with their connections.
pub(crate) struct BackEnd {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
    left: Receiver<()>,
}

impl BackEnd {
    pub(crate) fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (asked_in, asked) = channel();
        let (left_in, left) = channel();
        let reply = Arc::new(reply);
        thread::spawn(move || {
            for (connection, socket) in listener.incoming().enumerate() {
                let Ok(socket) = socket else { return };
                let (asked, left, reply) = (asked_in.clone(), left_in.clone(), reply.clone());
                thread::spawn(move || {
                    // The server may leave in the middle of anything.
                    let _ended = serve(&socket, connection, &*reply, &asked, &left);
                });
            }
        });
        Self { address, asked, left }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request that has come.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("it is asked")
    }

    /// How many requests have come that were not looked at.
    pub(crate) fn asked_count(&self) -> usize {
        self.asked.try_iter().count()
    }

    /// A connection that hung was closed by the server.
    pub(crate) fn left(&self) {
        match self.left.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => panic!("the server holds on to it"),
            Err(RecvTimeoutError::Disconnected) => panic!("the back end is gone"),
        }
    }
}

fn serve(
    socket: &TcpStream,
    connection: usize,
    reply: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    asked: &Sender<Asked>,
    left: &Sender<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket);
    let mut writer = socket;
    while let Some(request) = read(&mut reader, connection)? {
        let answer = reply(&request);
        // Nobody may be looking.
        let _looked = asked.send(request);
        match answer {
            Reply::Say(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n");
                // At once: a second segment would wait for the first one's acknowledgement.
                writer.write_all(format!("{head}{body}").as_bytes())?;
            }
            Reply::Hang => {
                let _ended = reader.read_exact(&mut [0]);
                let _looked = left.send(());
                return Ok(());
            }
            Reply::Die => return Ok(()),
            Reply::Raw(bytes) => return writer.write_all(&bytes),
            Reply::Flood => {
                write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
                let blank = vec![b' '; 1 << 20];
                for _ in 0..1024 {
                    writer.write_all(&blank)?;
                }
            }
        }
    }
    Ok(())
}

/// A request, or `None` at the end.
fn read(reader: &mut BufReader<&TcpStream>, connection: usize) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    // Who asks for something that is there has no body.
    let body = match &*body {
        [] => Value::Null,
        body => serde_json::from_slice(body).expect("a body in JSON"),
    };
    Ok(Some(Asked { path, headers, body, connection }))
}
