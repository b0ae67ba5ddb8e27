//! Standing by: who may, what is heard there, and that whatever there is to say is said in a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ed25519_dalek::SigningKey;
use prost::Message as _;
use rustls::pki_types::ServerName;
use seatbeat_proto::signed::{Domain, sign};
use seatbeat_proto::standby::{ALPN, frame, unframe};
use seatbeat_proto::tls::{PinVerifier, client_config};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{
    Action, AgentMessage, Beat, CataloguePushed, CollectorMessage, Hello, Settings, Signed, Standby,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::limits::Patience;
use super::client::{Agent, PATIENCE};
use super::orders::{place, set_keys, sign_order};
use super::{Collector, settings, until};

const WELL: Down = Down::Standby(Standby { come: false, after_ms: 0 });
const COME: Down = Down::Standby(Standby { come: true, after_ms: 0 });

/// A connection on standby.
struct Line(TlsStream<TcpStream>, BytesMut);

impl Line {
    async fn open(collector: &Collector, key: Option<&SigningKey>) -> Self {
        let mut config = client_config(PinVerifier::new(vec![collector.pin]), key).unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let stream = TcpStream::connect(collector.address).await.unwrap();
        let name = ServerName::try_from("collector").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self(stream, BytesMut::new())
    }

    async fn bytes(&mut self, bytes: &[u8]) {
        // The door may have closed before.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    async fn say(&mut self, body: Up) {
        self.bytes(&frame(&AgentMessage { body: Some(body) }).unwrap()).await;
    }

    async fn beat(&mut self, sent_at_ms: i64) {
        self.say(Up::Beat(Beat { sent_at_ms, waiting: 0, answer: true })).await;
    }

    /// None: the connection is over.
    async fn hears(&mut self) -> Option<Down> {
        loop {
            if let Some(frame) = unframe(&mut self.1).unwrap() {
                return CollectorMessage::decode(frame).unwrap().body;
            }
            let read = timeout(PATIENCE, self.0.read_buf(&mut self.1)).await;
            if !matches!(read.expect("the door says something in time"), Ok(1..)) {
                return None;
            }
        }
    }

    /// It is called, and that is the end.
    async fn is_called(&mut self) {
        assert_eq!(self.hears().await, Some(COME));
        assert_eq!(self.hears().await, None);
    }
}

/// Whose hello says that it has everything.
fn hello(agent: &Agent) -> Hello {
    Hello { catalogue_version: 0, ..agent.hello() }
}

/// A machine that has reported, and its line on standby.
async fn standing_by(collector: &Collector) -> (Agent, Line) {
    let mut agent = collector.agent().await;
    let report = agent.reports(collector.books.clock().now_ms());
    let (mut link, welcome) = agent.link(collector).await;
    assert_eq!(welcome.standby_after_ms, 180_000);
    link.send(report).await;
    link.acked(1).await;
    let mut line = Line::open(collector, Some(&agent.key)).await;
    line.say(Up::Hello(hello(&agent))).await;
    assert_eq!(line.hears().await, Some(WELL));
    (agent, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_by_is_connected_and_each_beat_is_heard_and_answered_where_that_is_wanted() {
    let collector = Collector::start().await;
    let (agent, mut line) = standing_by(&collector).await;
    until(|| collector.presence.seen(&agent.id).is_some_and(|seen| seen.streams == 1)).await;
    assert_eq!(collector.presence.standing_by_count(), 1);
    let (position, beats) = (collector.position(), collector.presence.beats());
    for _ in 0..3 {
        line.beat(collector.books.clock().now_ms() - 3_600_000).await;
        assert_eq!(line.hears().await, Some(WELL));
    }
    line.say(Up::Beat(Beat { sent_at_ms: 0, waiting: 0, answer: false })).await;
    line.beat(collector.books.clock().now_ms() - 3_600_000).await;
    assert_eq!(line.hears().await, Some(WELL));
    assert_eq!(collector.presence.beats() - beats, 5);
    let offset = collector.presence.seen(&agent.id).unwrap().clock_offset_ms;
    assert!((-3_610_000..=-3_590_000).contains(&offset), "{offset}");
    assert_eq!(collector.position(), position, "nothing is written");
    drop(line);
    until(|| !collector.presence.connected(&agent.id)).await;
    assert_eq!(collector.presence.standing_by_count(), 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_told_on_standby_at_the_beginning_and_when_they_change() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    let mut line = Line::open(&collector, Some(&agent.key)).await;
    line.say(Up::Hello(Hello { settings_revision: 4, ..hello(&agent) })).await;
    assert_eq!(line.hears().await, Some(WELL));
    assert_eq!(line.hears().await, Some(Down::Settings(settings(&collector.books, 5))));
    collector.settings.send(settings(&collector.books, 6)).unwrap();
    assert_eq!(line.hears().await, Some(Down::Settings(settings(&collector.books, 6))));
    line.beat(0).await;
    assert_eq!(line.hears().await, Some(WELL));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_a_newer_catalogue_and_a_ban_call_whom_they_are_for_and_nobody_else() {
    let collector = Collector::start().await;
    set_keys(&collector, 1, 101, 101).await;
    let (ordered, mut first) = standing_by(&collector).await;
    let (banned, mut second) = standing_by(&collector).await;
    let (other, mut third) = standing_by(&collector).await;
    drop(third);
    third = Line::open(&collector, Some(&other.key)).await;
    let hello_of_other = Hello { order_keys_revision: 1, catalogue_version: 3, ..hello(&other) };
    third.say(Up::Hello(hello_of_other)).await;
    assert_eq!(third.hears().await, Some(WELL));
    let fourth = collector.agent().await;
    let mut line = Line::open(&collector, Some(&fourth.key)).await;
    line.say(Up::Hello(Hello { catalogue_version: 2, ..hello(&fourth) })).await;
    assert_eq!(line.hears().await, Some(WELL));

    drop(first);
    first = Line::open(&collector, Some(&ordered.key)).await;
    first.say(Up::Hello(Hello { order_keys_revision: 1, ..hello(&ordered) })).await;
    assert_eq!(first.hears().await, Some(WELL));
    place(&collector, &ordered, &[("ord_1", Action::SwitchOff, "dsa")], b"").await;
    first.beat(0).await;
    assert_eq!(first.hears().await, Some(WELL), "nobody has signed it");
    sign_order(&collector, "ord_1", 101).await;
    first.is_called().await;
    let mut again = Line::open(&collector, Some(&ordered.key)).await;
    again.say(Up::Hello(Hello { order_keys_revision: 1, ..hello(&ordered) })).await;
    again.is_called().await;
    let mut link = ordered.open(&collector).await.unwrap();
    link.say(Up::Hello(Hello { order_keys_revision: 1, ..ordered.hello() })).await;
    assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
    assert!(matches!(link.hears().await, Ok(Down::Order(_))));

    collector.ban(&banned.id).await;
    second.is_called().await;
    let catalogue = Some(Signed { payload: b"version = 3".to_vec(), signature: vec![3; 64] });
    collector.write(Fact::CataloguePushed(CataloguePushed { version: 3, catalogue })).await;
    line.is_called().await;
    third.beat(0).await;
    assert_eq!(third.hears().await, Some(WELL), "nothing was for it");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_chain_ends_elsewhere_or_who_is_not_let_in_is_told_in_a_stream() {
    let collector = Collector::start().await;
    let (mut agent, line) = standing_by(&collector).await;
    drop(line);
    agent.reports(1);
    let unknown = Agent::new();
    let (banned, line) = standing_by(&collector).await;
    collector.ban(&banned.id).await;
    drop(line);
    for (key, hello) in [
        (Some(&agent.key), hello(&agent)),
        (Some(&agent.key), Hello { protocol: 99, ..hello(&agent) }),
        (Some(&banned.key), hello(&banned)),
        (Some(&unknown.key), hello(&unknown)),
        (None, hello(&unknown)),
    ] {
        let mut line = Line::open(&collector, key).await;
        line.say(Up::Hello(hello)).await;
        line.is_called().await;
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_beat_ends_the_line_and_writes_nothing() {
    let collector = Collector::start().await;
    let (mut agent, line) = standing_by(&collector).await;
    drop(line);
    let position = collector.position();
    let evidence = agent.snapshot().reports(1);
    let evidence = frame(&AgentMessage { body: Some(Up::Evidence(evidence)) }).unwrap();
    let hello_again = frame(&AgentMessage { body: Some(Up::Hello(hello(&agent))) }).unwrap();
    for bytes in [&evidence[..], &hello_again[..], &[0, 2, 0xff, 0xff], &[0xff, 0xff, 0, 0], &[0, 0]] {
        let mut line = Line::open(&collector, Some(&agent.key)).await;
        line.say(Up::Hello(hello(&agent))).await;
        assert_eq!(line.hears().await, Some(WELL));
        line.bytes(bytes).await;
        assert_eq!(line.hears().await, None, "{bytes:?}");
        let mut first = Line::open(&collector, Some(&agent.key)).await;
        first.bytes(if bytes == &hello_again[..] { &[0, 0] } else { bytes }).await;
        assert_eq!(first.hears().await, None, "{bytes:?} instead of hello");
    }
    assert_eq!(collector.position(), position);
    let report = agent.reports(1);
    let (mut link, _) = agent.link(&collector).await;
    link.send(report).await;
    link.acked(2).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_beats_without_end_is_heard_later() {
    let collector = Collector::start().await;
    let (_agent, mut line) = standing_by(&collector).await;
    let beat = Up::Beat(Beat { sent_at_ms: 0, waiting: 0, answer: false });
    let beats = frame(&AgentMessage { body: Some(beat) }).unwrap().repeat(1_000);
    let began = Instant::now();
    line.bytes(&beats).await;
    line.beat(0).await;
    assert_eq!(line.hears().await, Some(WELL));
    // Half of them at once, then 250 a second.
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_at_the_door_is_not_waited_for() {
    let hello = Duration::from_millis(200);
    let collector = Collector::start_with(Patience { hello, ..Patience::default() }).await;
    let agent = collector.agent().await;
    let mut line = Line::open(&collector, Some(&agent.key)).await;
    assert_eq!(line.hears().await, None);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_over_from_standby_and_standby_from_a_stream() {
    let collector = Collector::start().await;
    let (agent, mut line) = standing_by(&collector).await;
    let (mut link, _) = agent.link(&collector).await;
    line.is_called().await;
    let mut line = Line::open(&collector, Some(&agent.key)).await;
    line.say(Up::Hello(hello(&agent))).await;
    assert_eq!(line.hears().await, Some(WELL));
    assert!(link.ended().await.1.contains("took over"));
    until(|| collector.presence.seen(&agent.id).is_some_and(|seen| seen.streams == 1)).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_closes_gives_each_its_turn_to_come_back() {
    let collector = Collector::start().await;
    let mut lines = Vec::new();
    for _ in 0..6 {
        lines.push(standing_by(&collector).await.1);
    }
    let folder = collector.stop().await;
    let mut turns = Vec::new();
    for line in &mut lines {
        match line.hears().await {
            Some(Down::Standby(Standby { come: false, after_ms: after_ms @ 1.. })) => turns.push(after_ms),
            other => panic!("it is not told when to come back: {other:?}"),
        }
        assert_eq!(line.hears().await, None);
    }
    turns.sort_unstable();
    turns.dedup();
    assert!(turns.len() > 1, "{turns:?}");
    drop(folder);
}

#[test]
fn settings_fit_into_a_frame() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let most = Settings {
        revision: u64::MAX,
        beat_interval_s: u32::MAX,
        report_interval_s: u32::MAX,
        scan_interval_s: u32::MAX,
    };
    let signed = sign(&key, Domain::Settings, most.encode_to_vec());
    assert!(frame(&CollectorMessage { body: Some(Down::Settings(signed)) }).is_ok());
}
