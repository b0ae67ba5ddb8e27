//! What becomes of evidence: appended once, acknowledged when durable, refused in words.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use seatbeat_ledger::registry::Tip;
use seatbeat_proto::signed::hash;
use seatbeat_proto::wire::collector_message::Body as Down;
use seatbeat_proto::wire::journal_record::Fact;
use seatbeat_proto::wire::{RefusalReason, Signed};

use super::Collector;
use super::client::Agent;
use crate::gateway::limits::{BEAT_RATE, GROUP_RECORDS_MAX};

const DAY_MS: i64 = 24 * 3_600_000;

fn tip(collector: &Collector, agent: &Agent) -> Option<Tip> {
    let machine = collector.books.read(|fold| fold.registry().machine(&agent.id).cloned());
    machine.unwrap().spools.get(&agent.spool).copied()
}

fn is_tip(collector: &Collector, agent: &Agent, sequence: u64, signed: &Signed) -> bool {
    tip(collector, agent) == Some(Tip { sequence, hash: hash(&signed.payload) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_reports_is_acknowledged_and_outlives_the_collector() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let position = collector.position();
    let reports: Vec<Signed> = (0..300).map(|number| agent.reports(1_700_000_000_000 + number)).collect();
    let (mut link, _) = agent.link(&collector).await;
    for report in &reports {
        link.send(report.clone()).await;
    }
    link.acked(300).await;
    assert_eq!(collector.presence.evidence(), 300);
    let (mut page, mut registry) = (String::new(), Registry::default());
    registry.register("acks", "", collector.presence.meters().acks());
    encode(&mut page, &registry).unwrap();
    let timed = page.lines().find_map(|line| line.strip_prefix("acks_count ")).unwrap();
    assert!((1..=300).contains(&timed.parse().unwrap()), "{page}");
    let kept: Vec<Signed> = collector
        .facts(position)
        .into_iter()
        .map(|fact| match fact {
            Fact::EvidenceReceived(received) => received.evidence.unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, reports, "the bytes as they came, in their order");
    let collector = collector.restart().await;
    assert!(is_tip(&collector, &agent, 300, &reports[299]));
    let (_link, welcome) = agent.link(&collector).await;
    assert_eq!(welcome.sequence, 300);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_a_stream_rested_is_written_a_group_at_a_time() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    // Who beats too often is heard later: all that follows has arrived by then.
    let late = 250;
    for _ in 0..BEAT_RATE.burst + late {
        link.beat(collector.books.clock().now_ms()).await;
    }
    for number in 0..=GROUP_RECORDS_MAX as i64 {
        let report = agent.reports(number);
        link.send(report).await;
    }
    for sequence in [GROUP_RECORDS_MAX as u64, GROUP_RECORDS_MAX as u64 + 1] {
        let heard = link.hears().await;
        assert!(matches!(&heard, Ok(Down::Ack(ack)) if ack.sequence == sequence), "{heard:?}");
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_acknowledged_again_and_not_written_again() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let reports: Vec<Signed> = (0..5).map(|number| agent.reports(number)).collect();
    let (mut link, _) = agent.link(&collector).await;
    for report in &reports {
        link.send(report.clone()).await;
    }
    link.acked(5).await;
    let position = collector.position();
    link.send(reports[4].clone()).await;
    link.acked(5).await;
    link.send(reports[1].clone()).await;
    link.acked(2).await;
    for report in &reports {
        link.send(report.clone()).await;
    }
    link.acked(5).await;
    let collector = collector.restart().await;
    let (mut link, _) = agent.link(&collector).await;
    link.send(reports[2].clone()).await;
    link.acked(3).await;
    assert_eq!(collector.position(), position);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_from_the_future_and_of_long_ago_are_kept_for_the_count_to_judge() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let now = collector.books.clock().now_ms();
    let (mut link, _) = agent.link(&collector).await;
    for (sequence, observed_at_ms) in [(1, now - 63 * DAY_MS), (2, now + DAY_MS), (3, now), (4, 0)] {
        let report = agent.reports(observed_at_ms);
        link.send(report.clone()).await;
        link.acked(sequence).await;
        assert!(is_tip(&collector, &agent, sequence, &report));
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_disk_had_begins_the_chain_where_the_agent_kept_it() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let _lost: Vec<Signed> = (0..10).map(|number| agent.reports(number)).collect();
    let (mut link, welcome) = agent.link(&collector).await;
    assert_eq!(welcome.sequence, 0);
    let kept = agent.reports(11);
    link.send(kept).await;
    link.acked(11).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_and_a_new_spool_goes_on_in_the_same_stream() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    let first = agent.reports(1);
    link.send(first.clone()).await;
    link.acked(1).await;
    let _skipped = agent.reports(2);
    let third = agent.reports(3);
    link.send(third).await;
    let refusal = link.refused().await;
    assert_eq!((refusal.reason(), refusal.sequence), (RefusalReason::BrokenChain, 3));
    assert_eq!(refusal.spool, agent.spool.to_string());
    assert!(is_tip(&collector, &agent, 1, &first));
    agent.open_spool();
    let anew = agent.reports(3);
    link.send(anew).await;
    link.acked(1).await;
    collector.stop().await;
}

/// Sends `chain` and then, from a snapshot taken before its evidence `at`, other content in its place.
async fn fork(
    collector: &Collector,
    began_ms: i64,
    length: u64,
    at: u64,
) -> (Agent, super::client::Link, Signed) {
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(collector).await;
    let mut twin = agent.snapshot();
    for sequence in 1..=length {
        if sequence == at {
            twin = agent.snapshot();
        }
        let report = agent.reports(began_ms + sequence as i64);
        link.send(report).await;
    }
    link.acked(length).await;
    let other = twin.reports(began_ms);
    (agent, link, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_counts_in_both_versions_once_and_asks_for_a_new_spool() {
    let collector = Collector::start().await;
    for (length, at) in [(3, 3), (3, 2), (3, 1)] {
        let began_ms = collector.books.clock().now_ms();
        let (mut agent, mut link, other) = fork(&collector, began_ms, length, at).await;
        let position = collector.position();
        for _ in 0..2 {
            link.send(other.clone()).await;
            let refusal = link.refused().await;
            assert_eq!((refusal.reason(), refusal.sequence), (RefusalReason::Forked, at));
        }
        let facts = collector.facts(position);
        let [Fact::EvidenceReceived(received)] = facts.as_slice() else { panic!("{facts:?}") };
        assert!(received.forked);
        assert_eq!(received.fork_of_ms, began_ms + at as i64, "when the original was observed");
        assert_eq!(received.evidence.as_ref(), Some(&other));
        let machine = collector.books.read(|fold| fold.registry().machine(&agent.id).cloned()).unwrap();
        assert!(machine.flags.contains_key("forked_spool"), "{:?}", machine.flags);
        agent.open_spool();
        let report = agent.reports(8);
        link.send(report).await;
        link.acked(1).await;
    }
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_a_report_that_does_not_count_has_no_instant() {
    let collector = Collector::start().await;
    let position = collector.position();
    let began_ms = collector.books.clock().now_ms() + DAY_MS;
    let (_agent, mut link, other) = fork(&collector, began_ms, 1, 1).await;
    link.send(other).await;
    assert_eq!(link.refused().await.reason(), RefusalReason::Forked);
    let Some(Fact::EvidenceReceived(received)) = collector.facts(position).pop() else { panic!("no fork") };
    assert!(received.forked);
    assert_eq!(received.fork_of_ms, 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_two_spools_is_acknowledged_spool_by_spool() {
    let collector = Collector::start().await;
    let mut agent = collector.agent().await;
    let (mut link, _) = agent.link(&collector).await;
    let mut sent = vec![agent.reports(1), agent.reports(2)];
    let older = agent.spool.to_string();
    agent.open_spool();
    sent.push(agent.reports(3));
    for report in sent {
        link.send(report).await;
    }
    let mut acked = std::collections::BTreeMap::new();
    while acked.get(&older) != Some(&2) || !acked.contains_key(agent.spool.as_str()) {
        let Ok(Down::Ack(ack)) = link.hears().await else { panic!("no acknowledgement") };
        acked.insert(ack.spool, ack.sequence);
    }
    assert_eq!(acked[agent.spool.as_str()], 1);
    collector.stop().await;
}
