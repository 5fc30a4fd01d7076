//! The load generator against servers that do wrong.
//!
//! Setup: a peer of a few lines on 127.0.0.1, one thread per connection, that answers as it should
//! but for one fault. Claim: the generator reports every fault in its own class and ends with 1,
//! and a peer without a fault gives a run without one. A fault that went unseen here would be
//! a number in the README that nobody may trust.

// Tests panic on purpose.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use longwire::bench::{BenchArgs, BenchError, Fault, Findings, Kind, Plan, measure};
use longwire::limits::BENCH_OPENING_MAX;
use longwire::ws::handshake::accept_key;
use longwire::ws::{OpCode, encode_header, encode_message};
use socket2::{Domain, Socket, Type};

/// Bytes of a message, and of the masked frame that carries it.
const SIZE: usize = 20;
const FRAME: usize = 2 + 4 + SIZE;

/// Serves every connection by `serve` in a thread of its own, until the test process ends.
fn peer(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    // Room for all that a test opens at once.
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || {
                // The generator hangs up when it has seen enough.
                let _ = serve(stream);
            });
        }
    });
    address
}

fn plan(kind: Kind, target: SocketAddr, change: impl Fn(&mut BenchArgs)) -> Plan {
    let mut args = BenchArgs {
        kind,
        target,
        path: "/".into(),
        connections: 3,
        size: SIZE,
        rate: None,
        window: 4,
        seconds: 1,
        publishers: 1,
        probes: 0,
        probe_path: "/echo".into(),
        server_pid: Some(std::process::id()),
        bare: true,
        json: false,
        cpu: None,
    };
    change(&mut args);
    let mut plan = Plan::new(&args).unwrap();
    plan.warm_up = Duration::from_millis(20);
    // Ten messages and the fault fit in, on a busy machine too.
    plan.measured = Duration::from_secs(1);
    // A run without a fault ends when all is there; one that lost a message takes as long as this.
    plan.drain_deadline = Duration::from_secs(2);
    plan
}

fn run(plan: &Plan) -> Findings {
    measure(plan).unwrap()
}

/// The frames of one connection, as they come.
struct Frames(TcpStream);

impl Frames {
    fn next(&mut self) -> io::Result<[u8; FRAME]> {
        let mut frame = [0; FRAME];
        self.0.read_exact(&mut frame)?;
        Ok(frame)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Sends back everything from here on.
    fn echo(&mut self) -> io::Result<()> {
        loop {
            let frame = self.next()?;
            self.send(&frame)?;
        }
    }
}

/// A bare peer that does `fault` to each connection after ten messages, and then echoes.
fn faulty(fault: fn(&mut Frames) -> io::Result<()>) -> SocketAddr {
    peer(move |stream| {
        let mut frames = Frames(stream);
        for _ in 0..10 {
            let frame = frames.next()?;
            frames.send(&frame)?;
        }
        fault(&mut frames)?;
        frames.echo()
    })
}

fn faults_of_echo(fault: fn(&mut Frames) -> io::Result<()>) -> Vec<Fault> {
    let findings = run(&plan(Kind::Echo, faulty(fault), |_| ()));
    assert_eq!(findings.exit_code(), u8::from(!findings.faults().is_empty()));
    findings.faults()
}

#[test]
fn a_peer_without_fault_gives_a_run_without_fault() {
    assert_eq!(faults_of_echo(|_| Ok(())), []);
}

#[test]
fn a_lost_message_is_reported_as_lost() {
    assert_eq!(faults_of_echo(|frames| frames.next().map(drop)), [Fault::Lost(3)]);
}

#[test]
fn a_repeated_message_is_reported_as_repeated() {
    let faults = faults_of_echo(|frames| {
        let frame = frames.next()?;
        frames.send(&frame)?;
        frames.send(&frame)
    });
    assert_eq!(faults, [Fault::Repeated(3)]);
}

#[test]
fn messages_that_change_places_are_reported_as_out_of_order() {
    let faults = faults_of_echo(|frames| {
        let (first, second) = (frames.next()?, frames.next()?);
        frames.send(&second)?;
        frames.send(&first)
    });
    assert_eq!(faults, [Fault::OutOfOrder(3)]);
}

#[test]
fn a_changed_byte_is_reported_as_corrupt() {
    let faults = faults_of_echo(|frames| {
        let mut frame = frames.next()?;
        frame[FRAME - 1] ^= 1;
        frames.send(&frame)
    });
    // It never arrived as it was sent, so it is lost as well.
    assert_eq!(faults, [Fault::Lost(3), Fault::Corrupt(3)]);
}

#[test]
fn bytes_that_are_no_frames_are_reported_as_corrupt_and_end_the_connection() {
    let faults = faults_of_echo(|frames| frames.send(&[0xff; FRAME]));
    assert!(faults.contains(&Fault::Corrupt(3)), "{faults:?}");
    assert!(faults.contains(&Fault::Broken(3)), "{faults:?}");
}

#[test]
fn a_connection_that_ends_by_itself_is_reported_as_broken() {
    let faults = faults_of_echo(|_| Err(io::ErrorKind::ConnectionAborted.into()));
    assert!(faults.contains(&Fault::Broken(3)), "{faults:?}");
}

#[test]
fn a_message_that_reaches_the_wrong_connection_is_reported_as_corrupt() {
    let met = Barrier::new(2);
    let seats = Mutex::new(Vec::new());
    let target = peer(move |stream| {
        let mut frames = Frames(stream);
        let own = frames.next()?;
        seats.lock().unwrap().push(own);
        met.wait();
        let other = seats.lock().unwrap().iter().copied().find(|frame| *frame != own);
        frames.send(&other.unwrap())?;
        frames.echo()
    });
    let findings = run(&plan(Kind::Echo, target, |args| args.connections = 2));
    assert_eq!(findings.faults(), [Fault::Lost(2), Fault::Corrupt(2)], "{findings}");
}

#[test]
fn answers_are_refused_by_class() {
    let refuse = |answer: &'static [u8]| {
        let target = peer(move |mut stream| {
            // All of the request, so that hanging up is a FIN and no reset.
            let _request = stream.read(&mut [0; 1024])?;
            stream.write_all(answer)
        });
        run(&plan(Kind::Idle, target, |args| args.bare = false))
    };
    let full = refuse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(full.failures.http, [(503, 3)].into());
    let wrong_key = refuse(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    assert_eq!(wrong_key.failures.handshake, 3);
    assert_eq!(refuse(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").failures.handshake, 3);
    assert_eq!(refuse(b"").failures.reset, 3);
    assert_eq!(full.faults(), [Fault::NothingConnected, Fault::Failed(3)]);
    assert_eq!(full.exit_code(), 1);
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    // Bound but not listening: the port is nobody else's meanwhile.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let target = socket.local_addr().unwrap().as_socket().unwrap();
    assert_eq!(run(&plan(Kind::Idle, target, |_| ())).failures.refused, 3);
    assert_eq!(run(&plan(Kind::Connect, target, |args| args.window = 1)).connected, 0);
}

#[test]
fn attempts_under_way_are_bounded() {
    let counts = Arc::new(Mutex::new((0u32, 0u32)));
    let shared = Arc::clone(&counts);
    let target = peer(move |mut stream| {
        {
            let (now, most) = &mut *shared.lock().unwrap();
            *now += 1;
            *most = (*most).max(*now);
        }
        while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
        shared.lock().unwrap().0 -= 1;
        Ok(())
    });
    let attempts = 3 * BENCH_OPENING_MAX;
    let mut plan =
        plan(Kind::Idle, target, |args| (args.bare, args.connections) = (false, attempts));
    plan.handshake_deadline = Duration::from_secs(2);
    assert_eq!(run(&plan).failures.total(), u64::from(attempts));
    // Those given up may overlap with the next, on the side of a peer that is slow to see it.
    let most = counts.lock().unwrap().1;
    assert!(most <= 2 * BENCH_OPENING_MAX, "{most} at once");
}

#[test]
fn a_peer_that_never_answers_times_out() {
    let target = peer(|mut stream| {
        loop {
            if stream.read(&mut [0; 1024])? == 0 {
                return Ok(());
            }
        }
    });
    let mut plan = plan(Kind::Idle, target, |args| args.bare = false);
    plan.handshake_deadline = Duration::from_millis(300);
    let findings = run(&plan);
    assert_eq!((findings.failures.timeout, findings.failures.total()), (3, 3));
}

/// The accepting side of a WebSocket, and the stream behind the request.
fn upgraded(mut stream: TcpStream) -> io::Result<Frames> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (_, key) = head.split_once("Sec-WebSocket-Key: ").unwrap();
    let accept = accept_key(key.lines().next().unwrap().as_bytes());
    // In two writes: the generator has to keep the first until the second is there.
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConne")?;
    thread::sleep(Duration::from_millis(5));
    let accept = String::from_utf8(accept.to_vec()).unwrap();
    stream.write_all(
        format!("ction: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes(),
    )?;
    Ok(Frames(stream))
}

fn unmasked(frame: [u8; FRAME]) -> [u8; SIZE] {
    std::array::from_fn(|index| frame[6 + index] ^ frame[2 + index % 4])
}

#[test]
fn fragments_and_pings_of_a_server_are_understood() {
    let target = peer(|stream| {
        let mut frames = upgraded(stream)?;
        let mut answer = Vec::new();
        encode_message(&mut answer, OpCode::Ping, b"are you there, generator");
        frames.send(&answer)?;
        loop {
            let mut head = [0; 2];
            frames.0.read_exact(&mut head)?;
            if head[0] & 0x0f == OpCode::Pong as u8 {
                frames.0.read_exact(&mut [0; 4 + 24])?;
                continue;
            }
            let mut frame = [0; FRAME];
            frame[..2].copy_from_slice(&head);
            frames.0.read_exact(&mut frame[2..])?;
            let payload = unmasked(frame);
            answer.clear();
            answer.extend_from_slice(&encode_header(false, OpCode::Text, 7, None));
            answer.extend_from_slice(&payload[..7]);
            encode_message(&mut answer, OpCode::Continuation, &payload[7..]);
            frames.send(&answer)?;
        }
    });
    let findings = run(&plan(Kind::Echo, target, |args| args.bare = false));
    assert_eq!(findings.faults(), [], "{findings}");
    assert!(findings.messages > 0);
}

#[test]
fn a_server_that_closes_is_reported_as_broken() {
    let target = peer(|stream| {
        let mut frames = upgraded(stream)?;
        frames.send(&[0x88, 2, 3, 0xe8])?;
        frames.echo()
    });
    let findings = run(&plan(Kind::Idle, target, |args| args.bare = false));
    assert_eq!(findings.faults(), [Fault::Broken(3)]);
}

#[test]
fn a_subscriber_that_misses_a_publication_is_seen_among_those_that_do_not() {
    // The publisher's frame goes to all but one of those connected, in every fifth publication.
    let all = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
    let target = peer(move |stream| {
        all.lock().unwrap().push(stream.try_clone()?);
        let mut frames = Frames(stream);
        for number in 1.. {
            let frame = frames.next()?;
            let mut all = all.lock().unwrap();
            let count = all.len();
            for (index, subscriber) in all.iter_mut().enumerate() {
                if number != 5 || index != count - 1 {
                    subscriber.write_all(&frame)?;
                }
            }
        }
        Ok(())
    });
    let findings = run(&plan(Kind::Fanout, target, |args| args.connections = 5));
    // The last to connect may be the publisher: then nothing follows at all.
    assert_eq!(findings.tally.lost(), 1, "{findings}");
    assert_eq!(findings.exit_code(), 1);
}

#[test]
fn in_a_churn_all_stand_but_the_one_that_leaves() {
    const STANDING: u32 = 20;
    let counts = Arc::new(Mutex::new((0u32, 0u32)));
    let shared = Arc::clone(&counts);
    let target = peer(move |stream| {
        let mut frames = upgraded(stream)?;
        {
            let (now, most) = &mut *shared.lock().unwrap();
            *now += 1;
            *most = (*most).max(*now);
        }
        let end = frames.echo();
        shared.lock().unwrap().0 -= 1;
        end
    });
    let plan = plan(Kind::Churn, target, |args| {
        (args.bare, args.connections, args.rate) = (false, STANDING, Some(40));
    });
    let findings = run(&plan);
    assert_eq!(findings.faults(), [], "{findings}");
    assert!(findings.messages > 0, "{findings}");
    assert!(findings.connected >= u64::from(STANDING) + findings.messages, "{findings}");
    assert!(counts.lock().unwrap().1 >= STANDING, "they did not stand at the same time");
}

#[test]
fn who_is_ended_by_the_server_in_a_churn_is_a_fault() {
    let target = peer(|stream| upgraded(stream).map(drop));
    let plan = plan(Kind::Churn, target, |args| {
        (args.bare, args.connections, args.rate) = (false, 5, Some(20));
    });
    let findings = run(&plan);
    assert!(findings.tally.broken > 0, "{findings}");
    assert!(findings.faults().contains(&Fault::Broken(findings.tally.broken)), "{findings}");
}

#[test]
fn handshakes_are_counted_and_their_slots_used_again() {
    let target = peer(|stream| upgraded(stream)?.echo());
    let mut plan = plan(Kind::Connect, target, |args| (args.bare, args.window) = (false, 2));
    plan.measured = Duration::from_secs(1);
    let findings = run(&plan);
    assert_eq!(findings.faults(), [], "{findings}");
    assert!(findings.connected > 4, "more than the two slots: {findings}");
}

#[test]
fn a_reader_that_pauses_loses_nothing() {
    // More in flight than the socket buffers hold: the generator has to keep what did not fit.
    let target = peer(|mut stream| {
        let mut bytes = vec![0; 1 << 16];
        thread::sleep(Duration::from_millis(100));
        loop {
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&bytes[..count])?;
        }
    });
    let mut plan = plan(Kind::Echo, target, |args| {
        (args.connections, args.size, args.window) = (2, 60_000, 200);
    });
    // It ends as soon as all is there.
    plan.drain_deadline = Duration::from_mins(1);
    let findings = run(&plan);
    assert!(findings.tally.arrived >= 400, "{findings}");
    assert_eq!(findings.tally.lost(), 0, "{findings}");
    assert_eq!(findings.tally.corrupt, 0, "{findings}");
}

#[test]
fn descriptors_that_are_not_there_are_an_error_with_its_cure() {
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let error = measure(&plan(Kind::Fanout, target, |args| args.connections = 4_000_000));
    assert!(matches!(error, Err(BenchError::Descriptors { .. })));
    let text = error.err().unwrap().to_string();
    assert!(text.contains("ulimit -n 4000016"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_its_cure() {
    let target = SocketAddr::from(([127, 0, 0, 1], 9));
    let error = measure(&plan(Kind::Idle, target, |args| args.server_pid = Some(u32::MAX)));
    assert!(matches!(error, Err(BenchError::Server { .. })));
}
