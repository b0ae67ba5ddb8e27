//! Streams: welcome, beats, settings, bans, and the newer of two.

use std::time::Duration;

use ed25519_dalek::VerifyingKey;
use seatbeat_ledger::checkpoint::{Checkpoint, origin};
use seatbeat_proto::signed::{Domain, verify};
use seatbeat_proto::wire::agent_message::Body as Up;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{CataloguePushed, Hello, PROTOCOL_VERSION, Signed};
use tokio::time::timeout;
use tonic::Code;

use super::client::{Agent, Link};
use super::{Collector, settings, until};
use crate::vault::VaultRow;

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn welcome_gives_the_tip_the_clock_and_a_signed_checkpoint() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, welcome) = agent.link(&collector).await;
    assert_eq!((welcome.sequence, welcome.hash.len()), (0, 0));
    let report = agent.reports(1);
    link.send(report).await;
    link.acked(1).await;
    drop(link);

    let hello = agent.hello();
    let (_link, welcome) = agent.link(&collector).await;
    assert_eq!((welcome.spool, welcome.sequence, welcome.hash), (hello.spool, 1, hello.hash));
    assert!((welcome.now_ms - collector.books.clock().now_ms()).abs() < HOUR_MS);
    let (reseller, service_key) =
        collector.books.read(|fold| fold.founded().map(|f| (f.reseller.clone(), f.service_key)).unwrap());
    let service_key = VerifyingKey::from_bytes(&service_key).unwrap();
    let checkpoint = Checkpoint::verify(&welcome.checkpoint, &origin(&reseller), &service_key).unwrap();
    assert!(checkpoint.size > 0 && checkpoint.size <= collector.position());
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_when_they_are_newer_and_at_once_when_they_change() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    let mut link = agent.open(&collector).await.unwrap();
    link.say(Up::Hello(Hello { settings_revision: 4, ..agent.hello() })).await;
    assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
    let Ok(Down::Settings(signed)) = link.hears().await else { panic!("no settings") };
    assert!(verify(&collector.books.keys().service().verifying_key(), Domain::Settings, &signed).is_ok());

    let older = settings(&collector.books, 3);
    collector.settings.send(older).unwrap();
    let newer = settings(&collector.books, 6);
    tokio::time::sleep(Duration::from_millis(50)).await;
    collector.settings.send(newer.clone()).unwrap();
    let heard = link.hears().await;
    assert!(matches!(&heard, Ok(Down::Settings(signed)) if *signed == newer), "{heard:?}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_an_agent_has_are_not_sent_again() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let mut link = agent.open(&collector).await.unwrap();
    link.say(Up::Hello(Hello { settings_revision: 5, ..agent.hello() })).await;
    assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
    for sequence in [1, 2] {
        let report = agent.reports(1);
        link.send(report).await;
        // Nothing else comes before it.
        link.acked(sequence).await;
        collector.settings.send(settings(&collector.books, 5)).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_catalogue_comes_to_agents_with_an_older_one_and_at_once_to_those_who_are_there() {
    let collector = Collector::start().await;
    let pushed = |version: u32| {
        let signed =
            Signed { payload: format!("version = {version}").into(), signature: vec![version as u8; 64] };
        (Fact::CataloguePushed(CataloguePushed { version, catalogue: Some(signed.clone()) }), signed)
    };
    let (third, third_signed) = pushed(3);
    collector.write(third).await;
    let mut links = Vec::new();
    for (version, is_sent) in [(2, true), (3, false), (0, false), (1, true)] {
        let agent = collector.agent().await;
        let mut link = agent.open(&collector).await.unwrap();
        let hello = Hello { settings_revision: 9, catalogue_version: version, ..agent.hello() };
        link.say(Up::Hello(hello)).await;
        assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
        if is_sent {
            let heard = link.hears().await;
            assert!(matches!(&heard, Ok(Down::Catalogue(signed)) if *signed == third_signed), "{heard:?}");
        }
        links.push((version, link));
    }
    let (fifth, fifth_signed) = pushed(5);
    collector.write(fifth).await;
    for (version, mut link) in links {
        if version == 0 {
            let silence = timeout(Duration::from_millis(800), link.hears()).await;
            assert!(silence.is_err(), "an agent that takes none is sent none: {silence:?}");
            continue;
        }
        let heard = link.hears().await;
        assert!(matches!(&heard, Ok(Down::Catalogue(signed)) if *signed == fifth_signed), "{heard:?}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_is_a_hello_that_this_collector_understands() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let report = agent.reports(1);
    let hello = || agent.hello();
    let cases = [
        (Up::Evidence(report), Code::InvalidArgument, "the first message has to be Hello"),
        (
            Up::Hello(Hello { protocol: PROTOCOL_VERSION + 1, ..hello() }),
            Code::FailedPrecondition,
            "update the collector",
        ),
        (Up::Hello(Hello { protocol: 0, ..hello() }), Code::InvalidArgument, "no protocol version"),
        (Up::Hello(Hello { spool: "mch_a".into(), ..hello() }), Code::InvalidArgument, "is not a spool id"),
    ];
    for (first, code, words) in cases {
        let mut link = agent.open(&collector).await.unwrap();
        link.say(first).await;
        let (ended, message) = link.ended().await;
        assert_eq!(ended, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let (mut link, _) = agent.link(&collector).await;
    link.say(Up::Hello(agent.hello())).await;
    assert_eq!(link.ended().await.0, Code::InvalidArgument, "and it comes once");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beats_show_presence_and_write_nothing() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    let position = collector.position();
    let (link, _) = agent.link(&collector).await;
    assert!(collector.presence.connected(&agent.id));
    assert_eq!(collector.presence.connected_count(), 1);
    link.beat(collector.books.clock().now_ms() + HOUR_MS).await;
    let presence = collector.presence.clone();
    until(|| presence.beats() == 2).await;
    let seen = presence.seen(&agent.id).unwrap();
    assert_eq!(seen.waiting, 3);
    assert!((seen.clock_offset_ms - HOUR_MS).abs() < 60_000, "{}", seen.clock_offset_ms);
    drop(link);
    until(|| !presence.connected(&agent.id)).await;
    assert_eq!((presence.connected_count(), collector.position()), (0, position));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_machine_told_last_is_kept() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    for name in ["ws-1.example", "ws-2.example"] {
        let mut link = agent.open(&collector).await.unwrap();
        link.say(Up::Hello(Hello { host_name: name.into(), ..agent.hello() })).await;
        assert!(matches!(link.hears().await, Ok(Down::Welcome(_))));
        let vault = collector.books.vault();
        until(|| {
            let kept = vault.get(VaultRow::HostName(&agent.id)).unwrap();
            kept.is_some_and(|kept| kept.as_slice() == name.as_bytes())
        })
        .await;
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_streams_of_a_machine_the_newer_lives() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut older, _) = agent.link(&collector).await;
    let (mut newer, _) = agent.link(&collector).await;
    assert_eq!(older.ended().await.0, Code::Aborted);
    let report = agent.reports(1);
    newer.send(report).await;
    newer.acked(1).await;
    assert_eq!(collector.presence.connected_count(), 1);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_the_open_stream_without_a_message_and_keeps_the_machine_out() {
    let collector = Collector::start().await;
    let (agent, other) = (collector.agent().await, collector.agent().await);
    let (mut link, _) = agent.link(&collector).await;
    let (mut others, _) = other.link(&collector).await;
    collector.ban(&agent.id).await;
    assert_eq!(link.ended().await, (Code::PermissionDenied, "this machine is banned".to_owned()));
    let Err(status) = agent.open(&collector).await else { panic!("it was let in again") };
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut other = other;
    let report = other.reports(1);
    others.send(report).await;
    others.acked(1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_comes_behind_a_ban_is_not_taken() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    collector.ban(&agent.id).await;
    let position = collector.position();
    let report = agent.reports(1);
    link.send(report).await;
    assert_eq!(link.ended().await.0, Code::PermissionDenied);
    assert_eq!(collector.position(), position);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_ends_says_goodbye() {
    let collector = Collector::start().await;
    let agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    let address = collector.address;
    let stopping = tokio::spawn(collector.stop());
    assert_eq!(link.ended().await, (Code::Unavailable, "the collector is shutting down".to_owned()));
    drop(link);
    let _folder =
        timeout(Duration::from_secs(8), stopping).await.expect("it does not wait for anyone").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_the_agents_contradict_stops_acknowledging_until_they_agree() {
    let collector = Collector::start().await;
    let ahead = |collector: &Collector| collector.books.clock().now_ms() + HOUR_MS;
    let mut links: Vec<(Agent, Link)> = Vec::new();
    for _ in 0..20 {
        let agent = collector.agent().await;
        let (link, _) = agent.link(&collector).await;
        links.push((agent, link));
    }
    let alarms = || collector.books.alarms().standing();
    assert_eq!(alarms(), Vec::<String>::new());
    for (_, link) in &links {
        link.beat(ahead(&collector)).await;
    }
    until(|| !alarms().is_empty()).await;
    assert!(alarms()[0].contains("clock is suspect"), "{:?}", alarms());
    let (mut agent, mut link) = links.pop().unwrap();
    let position = collector.position();
    let report = agent.reports(1);
    link.send(report.clone()).await;
    let (code, message) = link.ended().await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains("clock"), "{message}");
    assert_eq!(collector.position(), position, "nothing with a doubtful time of receipt is written");

    for (_, link) in &links {
        link.beat(collector.books.clock().now_ms()).await;
    }
    let (mut link, _) = agent.link(&collector).await;
    until(|| alarms().is_empty()).await;
    link.send(report).await;
    link.acked(1).await;
    collector.stop().await;
}
