//! Whoever means harm at the agent door: floods of HTTP/2 frames, oversized and packed messages, connections that never
//! say a whole word, a machine that talks without end. Invariant: beside each of them a well-behaved machine's reports
//! are taken, the collector's memory stays within a bound, and what can only be meant badly is ended.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use seatbeat_fleet::client::{Connection, Door};
use seatbeat_fleet::machine::Machine;
use seatbeat_fleet::seed::Seed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::desk::{Desk, say};
use crate::reporters::{exported, now, reporter};

/// How long one abuse goes on at most, and how many connections do it at once.
const LASTS: Duration = Duration::from_secs(1);
const ABUSERS: usize = 4;

/// Connections that never finish their first word.
const SILENT: usize = 2000;

/// Beats of one stream, and how long they keep it from being heard: all but five hundred take four milliseconds each.
const BEATS: u32 = 1500;
const BEATS_LAST: Duration = Duration::from_millis(3900);

/// How long a report may wait beside any of it.
const WAITS_MAX: Duration = Duration::from_secs(10);

/// Memory that all of it may cost the collector.
const MEMORY_MIB_MAX: u64 = 128;

/// Reports of the well-behaved machine before anybody disturbs.
const QUIET_REPORTS: usize = 100;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LINK: &str = "/seatbeat.v1.AgentLink/Link";

/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames here are short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request for a path as a header block without a table (RFC 7541).
fn request(path: &str) -> Vec<u8> {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.push(u8::try_from(text.len()).expect("short"));
        bytes.extend(text.as_bytes());
    };
    // :method POST and :scheme https stand in the static table.
    let mut block = vec![0x83, 0x87];
    for (name, value) in [(&[0x04_u8][..], path), (&[0x01], "collector"), (&[0x0f, 0x10], "application/grpc")]
    {
        block.extend(name);
        text(&mut block, value);
    }
    block.push(0);
    text(&mut block, "te");
    text(&mut block, "trailers");
    block
}

/// One way to do harm.
struct Abuse {
    name: &'static str,
    /// What is said once.
    opening: fn() -> Vec<u8>,
    /// What is said again and again, the n-th time.
    again: fn(u32) -> Vec<u8>,
    /// Whether answers are read.
    reads: bool,
    /// Whether the collector has to end the connection for it.
    ends: bool,
}

fn on_a_link() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &request(LINK))
}

static ABUSES: [Abuse; 9] = [
    Abuse {
        name: "streams that are opened and reset at once",
        opening: Vec::new,
        again: |time| {
            let stream = time * 2 + 1;
            let mut both = frame(HEADERS, END_HEADERS, stream, &request(LINK));
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            both
        },
        reads: true,
        ends: true,
    },
    Abuse {
        name: "headers without an end",
        opening: || frame(HEADERS, 0, 1, &request(LINK)),
        // A literal name of one letter with an empty value, often.
        again: |_| frame(CONTINUATION, 0, 1, &[0, 1, b'x', 0].repeat(2000)),
        reads: true,
        ends: true,
    },
    Abuse {
        name: "more streams than are allowed",
        opening: Vec::new,
        again: |time| frame(HEADERS, END_HEADERS, time * 2 + 1, &request(LINK)),
        reads: true,
        ends: false,
    },
    Abuse {
        name: "pings whose answers nobody reads",
        opening: Vec::new,
        again: |_| frame(PING, 0, 0, &[7; 8]).repeat(64),
        reads: false,
        ends: false,
    },
    Abuse {
        name: "settings whose answers nobody reads",
        opening: Vec::new,
        again: |_| frame(SETTINGS, 0, 0, &[]).repeat(64),
        reads: false,
        ends: false,
    },
    Abuse {
        name: "frames with nothing in them",
        opening: on_a_link,
        again: |_| frame(DATA, 0, 1, &[]).repeat(64),
        reads: true,
        ends: false,
    },
    Abuse {
        name: "a message that says it is four gigabytes long",
        opening: || [on_a_link(), frame(DATA, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff])].concat(),
        again: |_| frame(DATA, 0, 1, &[0; 1024]),
        reads: true,
        ends: false,
    },
    Abuse {
        name: "a message that says it is packed",
        opening: || [on_a_link(), frame(DATA, 0, 1, &[1, 0, 0, 4, 0])].concat(),
        again: |_| frame(DATA, 0, 1, &[0x1f; 1024]),
        reads: true,
        ends: false,
    },
    Abuse {
        name: "messages that are none",
        opening: on_a_link,
        again: |_| frame(DATA, 0, 1, &[0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
        reads: true,
        ends: false,
    },
];

/// Does it until the collector ends the connection or the time is over; whether it was ended.
async fn abuse(door: Door, machine: Machine, how: &'static Abuse) -> bool {
    let stream = door.bare(&machine, seatbeat_proto::tls::ALPN).await.expect("the door is open");
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = JoinSet::new();
    if how.reads {
        reader.spawn(until_the_end(read));
    }
    let began = Instant::now();
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &(how.opening)()].concat();
    if write.write_all(&opening).await.is_err() {
        return true;
    }
    for time in 0.. {
        if reader.try_join_next().is_some() {
            return true;
        }
        let left = LASTS.saturating_sub(began.elapsed());
        match timeout(left, write.write_all(&(how.again)(time))).await {
            // Nobody takes any more of it.
            Err(_) => return false,
            Ok(Err(_)) => return true,
            Ok(Ok(())) => {}
        }
    }
    false
}

/// Reads frames until the collector says goodbye or closes.
async fn until_the_end(mut read: ReadHalf<TlsStream<TcpStream>>) {
    let mut head = [0; 9];
    while read.read_exact(&mut head).await.is_ok() && head[3] != GOAWAY {
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        if tokio::io::copy(&mut (&mut read).take(length), &mut tokio::io::sink()).await.is_err() {
            return;
        }
    }
}

/// A machine as it should be: one report after the other, each acknowledged before the next.
struct Good {
    machine: Machine,
    link: Connection,
    /// Of the first report.
    since: jiff::Timestamp,
}

impl Good {
    async fn open(door: &Door) -> Self {
        let machine = reporter("good", &Seed::new(1));
        door.enrol(&machine, now()).await.expect("the token lets it in");
        let link = Connection::open(door, &machine, now()).await.expect("it is let in");
        let hours = SignedDuration::from_hours(6);
        Self { machine, link, since: now().saturating_sub(hours).expect("the clock is past its start") }
    }

    fn sent(&self) -> u64 {
        self.machine.tip().map_or(0, |tip| tip.sequence)
    }

    /// How long its next report waits to be durable.
    async fn reports(&mut self) -> Duration {
        let later = SignedDuration::from_secs(i64::try_from(self.sent()).expect("few"));
        let at = self.since.saturating_add(later).expect("the clock is far from its end");
        let link = self.machine.link_at(at).expect("it always shows something");
        let began = Instant::now();
        self.link.send(&link).await.expect("it is heard");
        self.link.wait_acked(link.tip.sequence).await.expect("it is taken");
        began.elapsed()
    }
}

/// The longest of these but one in a hundred.
fn p99(mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    waits[(waits.len() * 99 / 100).min(waits.len() - 1)]
}

/// Connections that begin a handshake and say no more; how many the collector closed.
async fn silent(agents: SocketAddr) -> usize {
    let mut open = Vec::new();
    for _ in 0..SILENT {
        let mut stream = TcpStream::connect(agents).await.expect("there are descriptors for it");
        let _ = stream.write_all(&[0x16, 3, 1]).await;
        open.push(stream);
    }
    let mut closed = 0;
    for mut stream in open {
        let read = timeout(Duration::from_secs(60), stream.read(&mut [0; 64])).await;
        closed += usize::from(match read {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.kind() == ErrorKind::ConnectionReset,
            Err(_) => false,
        });
    }
    closed
}

/// A machine that is let in and says very often that it is alive; how long its report behind that was not heard.
async fn chatter(door: Door, mut machine: Machine) -> Duration {
    let began = Instant::now();
    let mut link = Connection::open(&door, &machine, now()).await.expect("it is let in");
    for _ in 0..BEATS {
        link.beat(now()).await.expect("it is heard, if late");
    }
    let report = machine.link_at(now()).expect("it always shows something");
    link.send(&report).await.expect("it is heard, if late");
    link.wait_acked(report.tip.sequence).await.expect("it is taken");
    began.elapsed()
}

/// Lets this process, with all tests in it, open as many files as it may.
fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("up to the limit is allowed");
}

#[test]
fn whoever_floods_the_agent_door_disturbs_no_other_machine() {
    open_many_files();
    let desk = Desk::open();
    let door = Door::of(&desk.customer_with_token("cus_a", "2")).expect("a token opens a door");
    let bad = reporter("bad", &Seed::new(1));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let (good, sent) = runtime.block_on(async {
        door.enrol(&bad, now()).await.expect("the token lets it in");
        let mut good = Good::open(&door).await;
        let mut quiet = Vec::new();
        for _ in 0..QUIET_REPORTS {
            quiet.push(good.reports().await);
        }
        let (_, before_mib) = desk.memory_mib();
        say(&format!("undisturbed: {:?} at most for 99 of 100, {before_mib} MiB", p99(quiet)));

        for how in &ABUSES {
            let abusers = (0..ABUSERS).map(|_| tokio::spawn(abuse(door.clone(), bad.clone(), how)));
            for ended in beside(&mut good, how.name, join_all(abusers)).await {
                let ended = ended.expect("it does not panic");
                assert!(ended || !how.ends, "{} is borne with", how.name);
            }
        }
        let talk = tokio::spawn(chatter(door.clone(), bad.clone()));
        let unheard = beside(&mut good, "a machine that talks without end", talk).await;
        assert!(unheard.expect("it does not panic") >= BEATS_LAST, "its beats have a rate");
        let silent = tokio::spawn(silent(desk.agents));
        let closed = beside(&mut good, "connections without a word", silent).await;
        assert_eq!(closed.expect("they do not panic"), SILENT, "all are closed in time");
        let (_, most_mib) = desk.memory_mib();
        say(&format!("{most_mib} MiB at most"));
        assert!(most_mib <= before_mib + MEMORY_MIB_MAX, "{before_mib} MiB grew to {most_mib} MiB");
        (good.machine.id().to_string(), good.sent())
    });
    assert!(!desk.log().contains("panicked"), "{}", desk.log());
    let period = desk.operator_json(&["usage"])["period"].as_str().expect("a period").to_owned();
    let mut counted = exported(&desk, &period);
    counted.retain(|(machine, _), _| *machine == good);
    assert!(
        counted.into_iter().eq((1..=sent).map(|place| ((good.clone(), place), 1))),
        "each once, all of them"
    );
}

/// Reports until something else is done; says how long they waited.
async fn beside<T>(good: &mut Good, name: &str, other: impl Future<Output = T>) -> T {
    let is_done = Cell::new(false);
    let other = async {
        let done = other.await;
        is_done.set(true);
        done
    };
    let mut waits = Vec::new();
    let reports = async {
        while !is_done.get() {
            let waited = good.reports().await;
            assert!(waited < WAITS_MAX, "{name}: a report waited {waited:?}");
            waits.push(waited);
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (done, ()) = tokio::join!(other, reports);
    say(&format!("{name}: {} reports, {:?} at most for 99 of 100", waits.len(), p99(waits)));
    done
}
