//! A whole site, driven over sockets; the shards are a task that answers what it is asked.

mod api;
mod crowd;
mod framing;
mod patience;
mod scrape;
mod serving;
mod users;

use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{
    Arrival, Ask, Audience, Busy, Crossing, HttpApi, Live, Placed, Question, Settings, Side, Site,
    Snapshot, TellError, Told,
};
use crate::address::{OtherEnd, SocketPeer};

/// Connections that a site may have here.
const SEATS: usize = 16;

/// A site that serves, and its shards.
struct Stage {
    arrivals: mpsc::Sender<Arrival>,
    stop: watch::Sender<bool>,
    live: Live,
    crossing: Crossing,
    internal: Option<std::net::SocketAddr>,
    /// What was told to whom.
    told: mpsc::UnboundedReceiver<(Audience, Vec<u8>)>,
    /// What channels' homes were asked.
    questions: mpsc::UnboundedReceiver<(String, Question)>,
    /// What was published: channel and message.
    published: mpsc::UnboundedReceiver<(String, String)>,
    serving: JoinHandle<()>,
}

/// What the shards say when they are asked.
#[derive(Clone)]
enum Shards {
    /// This, and that every publication was queued, and every user told, unless it
    /// is called `full`.
    Answer(Box<Snapshot>),
    /// Nothing, ever.
    Mute,
}

fn settings() -> Settings {
    Settings {
        internal_listen: None,
        http_api: HttpApi { insecure: true, ..HttpApi::default() },
        ..Settings::default()
    }
}

fn stage(settings: Settings) -> Stage {
    stage_with(settings, Shards::Answer(Box::default()))
}

fn stage_with(settings: Settings, shards: Shards) -> Stage {
    let site = Site::new(settings).unwrap();
    let (live, crossing, internal) = (site.live(), site.crossing(), site.internal_address());
    let (arrivals, arrive) = mpsc::channel(SEATS);
    let (asks, mut asked) = mpsc::channel(4);
    let (stop, stopping) = watch::channel(false);
    let (publish, published) = mpsc::unbounded_channel();
    let (tell, words) = mpsc::unbounded_channel();
    let (note, questions) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(ask) = asked.recv().await {
            match (ask, &shards) {
                (ask, Shards::Mute) => unanswered.push(ask),
                (Ask::Publish { channel, frame, answer }, _) => {
                    let placed = frame.kept.map(|_| Placed { offset: 7, epoch: "e".to_owned() });
                    let queued = if channel == "full" { Err(Busy) } else { Ok(placed) };
                    let _ = publish.send((channel, String::from_utf8(frame.message).unwrap()));
                    let _ = answer.send(queued);
                }
                (Ask::Question { channel, question, answer }, _) => {
                    let _ = answer.send(if channel == "full" {
                        Err(Busy)
                    } else {
                        Ok(told(&question))
                    });
                    let _ = note.send((channel, question));
                }
                (Ask::Channels { pattern, answer }, _) => {
                    let list = [(pattern, 3)].into();
                    let _ = answer.send(Ok(list));
                }
                (Ask::Tell { whom, word, answer }, _) => {
                    let name = |name: &str| whom == Audience::User(name.to_owned());
                    let done = match () {
                        () if name("full") => Err(TellError::Busy),
                        () if name("failing") => Err(TellError::Unheard),
                        () => Ok(()),
                    };
                    let _ = tell.send((whom, word));
                    let _ = answer.send(done);
                }
                (Ask::Snapshot { answer }, Shards::Answer(snapshot)) => {
                    let _ = answer.send(Some(Snapshot::clone(snapshot)));
                }
            }
        }
    });
    let (shards, _introduced) = mpsc::channel(1);
    let serving = tokio::spawn(site.serve(arrive, SEATS, asks, shards, stopping));
    Stage { arrivals, stop, live, crossing, internal, told: words, questions, published, serving }
}

/// What a home says.
fn told(question: &Question) -> Told {
    match question {
        Question::History { since: Some((_, epoch)), .. } if epoch == "over" => Told::Unrecoverable,
        Question::History { .. } => Told::History {
            publications: r#"[{"data":1,"offset":9}]"#.to_owned(),
            end: Placed { offset: 9, epoch: "e".to_owned() },
        },
        Question::RemoveHistory => Told::HistoryRemoved,
        Question::Presence => Told::Presence(r#"{"c":{"user":"u","client":"c"}}"#.to_owned()),
        Question::PresenceStats => Told::PresenceStats { clients: 3, users: 2 },
    }
}

impl Stage {
    /// A connection of which a shard has read `bytes`.
    async fn connect(&self, bytes: &[u8]) -> UnixStream {
        let (socket, client) = StdUnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let (bytes, seat) = (bytes.to_vec(), Box::new(()));
        let other_end = OtherEnd::itself(SocketPeer::Local);
        let arrival = Arrival { socket: socket.into(), other_end, bytes, seat };
        self.arrivals.send(arrival).await.unwrap();
        UnixStream::from_std(client).unwrap()
    }

    /// All answers to `bytes`, which are all that the client sends.
    async fn answers(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut client = self.connect(bytes).await;
        client.shutdown().await.unwrap();
        read_answers(&mut client).await
    }

    /// The answer to one request.
    async fn answer(&self, request: &str) -> Answer {
        let mut answers = self.answers(request.as_bytes()).await;
        assert_eq!(answers.len(), 1, "{request}: {answers:?}");
        answers.remove(0)
    }

    async fn get(&self, path: &str) -> Answer {
        self.answer(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.answer(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    fn published(&mut self) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.published.try_recv().ok()).collect()
    }
}

/// One answer of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// Reads to the end, which must be the end of an answer.
async fn read_answers(client: &mut UnixStream) -> Vec<Answer> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let mut text = std::str::from_utf8(&bytes).unwrap();
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (answer, rest) = split_answer(text).expect("a whole answer");
        answers.push(answer);
        text = rest;
    }
    answers
}

/// Reads one answer from a connection that goes on.
async fn read_answer(client: &mut UnixStream) -> Answer {
    let mut text = String::new();
    loop {
        if let Some((answer, rest)) = split_answer(&text) {
            assert_eq!(rest, "", "one answer");
            return answer;
        }
        let mut piece = [0; 4096];
        let bytes = client.read(&mut piece).await.unwrap();
        assert!(bytes > 0, "ended within an answer: {text}");
        text.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
    }
}

fn split_answer(text: &str) -> Option<(Answer, &str)> {
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    answer.body = rest.get(..length)?.to_owned();
    Some((answer, &rest[length..]))
}
