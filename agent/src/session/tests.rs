//! Tables of what happens -> what is done.

use ed25519_dalek::SigningKey;
use prost::Message as _;
use seatbeat_proto::catalogue::PushedError;
use seatbeat_proto::ids::SpoolId;
use seatbeat_proto::signed::{Domain, new_key, sign};
use wire::RefusalReason as Reason;
use wire::collector_message::Body;

use super::*;

mod standby;

/// One agent, its clock, and the collector's side of the talk.
struct Talk {
    session: Session,
    chain: Chain,
    now: Moment,
    service: SigningKey,
    /// As each welcome says.
    standby_after_ms: u32,
}

fn spool() -> SpoolId {
    "spl_a".parse().unwrap()
}

fn chain(length: u64) -> Chain {
    let mut chain = Chain::new(spool());
    (1..=length).for_each(|number| chain.push(hash_of(number)));
    chain
}

fn hash_of(number: u64) -> [u8; 32] {
    [u8::try_from(number % 251).unwrap(); 32]
}

impl Talk {
    fn with_seed(length: u64, acknowledged: u64, seed: u64) -> Self {
        let service = new_key();
        let profile = Profile {
            machine: "mch_a".parse().unwrap(),
            host_name: "host".into(),
            agent_version: "1".into(),
            service: service.verifying_key(),
        };
        let past = Past { settings: Settings::initial(0), book: Book::default(), acknowledged };
        let now = Moment { wall: Timestamp::from_second(1_790_000_000).unwrap(), uptime: Duration::ZERO };
        let session = Session::new(profile, past, Jitter::from_seed(seed), now);
        Self { session, chain: chain(length), now, service, standby_after_ms: 0 }
    }

    fn new(length: u64, acknowledged: u64) -> Self {
        Self::with_seed(length, acknowledged, 1)
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.session.handle(event, &self.chain, self.now)
    }

    fn hear(&mut self, body: Body) -> Vec<Effect> {
        self.tell(Event::Received(wire::CollectorMessage { body: Some(body) }))
    }

    fn pass(&mut self, time: Duration) {
        self.now.uptime += time;
        self.now.wall = self.now.wall.checked_add(jiff::SignedDuration::try_from(time).unwrap()).unwrap();
    }

    /// Up to the next timer, and what it does.
    fn sleep(&mut self) -> Vec<Effect> {
        self.pass(self.session.timer().saturating_sub(self.now.uptime));
        self.tell(Event::Timer)
    }

    /// Connects and says hello.
    fn greet(&mut self) {
        assert!(matches!(self.sleep()[..], [Effect::Connect { .. }]));
        assert!(matches!(&self.tell(Event::Connected)[..], [Effect::Send(_)]));
    }

    fn welcome(&mut self, sequence: u64, hash: Vec<u8>) -> Vec<Effect> {
        let now_ms = instant::to_ms(self.now.wall);
        let welcome = wire::Welcome {
            hello_sent_at_ms: now_ms,
            now_ms,
            spool: "spl_a".into(),
            sequence,
            hash,
            checkpoint: String::new(),
            standby_after_ms: self.standby_after_ms,
        };
        self.hear(Body::Welcome(welcome))
    }

    /// Opens the conversation at a tip that both sides agree on.
    fn open(&mut self, sequence: u64) -> Vec<Effect> {
        self.greet();
        let hash = if sequence == 0 { vec![] } else { hash_of(sequence).to_vec() };
        self.welcome(sequence, hash)
    }

    fn ack(&mut self, sequence: u64) -> Vec<Effect> {
        self.hear(Body::Ack(wire::Ack { spool: "spl_a".into(), sequence }))
    }

    fn refuse(&mut self, reason: Reason, sequence: u64) -> Vec<Effect> {
        let refusal = wire::Refusal {
            reason: reason.into(),
            spool: "spl_a".into(),
            sequence,
            detail: "in\u{7} words".into(),
        };
        self.hear(Body::Refusal(refusal))
    }
}

fn sent(effects: &[Effect]) -> Vec<u64> {
    let sequence = |effect: &Effect| match effect {
        Effect::SendEvidence { sequence } => Some(*sequence),
        _ => None,
    };
    effects.iter().filter_map(sequence).collect()
}

fn new_spool(effects: &[Effect]) -> Option<(NewSpool, u64)> {
    effects.iter().find_map(|effect| match effect {
        Effect::OpenNewSpool { why, carry_after } => Some((*why, *carry_after)),
        _ => None,
    })
}

fn notes(effects: &[Effect]) -> Vec<String> {
    let text = |effect: &Effect| match effect {
        Effect::Note(note) => Some(note.to_string()),
        _ => None,
    };
    effects.iter().filter_map(text).collect()
}

#[test]
fn hello_comes_first_and_carries_the_tip_and_the_clock_as_it_is() {
    let mut talk = Talk::new(3, 0);
    assert!(matches!(talk.sleep()[..], [Effect::Connect { attempt: 0 }]));
    let effects = talk.tell(Event::Connected);
    let [Effect::Send(wire::AgentMessage { body: Some(wire::agent_message::Body::Hello(hello)) })] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((hello.spool.as_str(), hello.sequence, hello.hash.as_slice()), ("spl_a", 3, &hash_of(3)[..]));
    assert_eq!(hello.sent_at_ms, instant::to_ms(talk.now.wall));
    assert_eq!(hello.protocol, wire::PROTOCOL_VERSION);
    assert_eq!(talk.tell(Event::Connected), [], "a second one says nothing");
}

#[test]
fn after_welcome_comes_what_the_collector_does_not_have() {
    for (length, tip, expected) in
        [(0, 0, vec![]), (3, 0, vec![1, 2, 3]), (3, 1, vec![2, 3]), (3, 3, vec![]), (5, 4, vec![5])]
    {
        let mut talk = Talk::new(length, tip);
        let effects = talk.open(tip);
        assert_eq!(sent(&effects), expected, "{length} written, collector at {tip}");
        assert_eq!(new_spool(&effects), None);
    }
}

#[test]
fn the_collectors_tip_counts_whatever_the_mark_says() {
    for (mark, tip) in [(0, 4), (5, 4), (4, 4), (5, 0)] {
        let mut talk = Talk::new(6, mark);
        let effects = talk.open(tip);
        assert_eq!(talk.session.acknowledged(), tip, "mark {mark}, tip {tip}");
        assert_eq!(effects.contains(&Effect::SaveAck { sequence: tip }), mark != tip);
        assert_eq!(sent(&effects), (tip + 1..=6).collect::<Vec<_>>());
    }
}

#[test]
fn a_collector_that_lost_its_disk_gets_all_that_is_kept() {
    let mut talk = Talk::new(20, 20);
    talk.chain.forget_oldest(12);
    let effects = talk.open(0);
    assert_eq!(sent(&effects), (13..=20).collect::<Vec<_>>());
    assert!(sent(&talk.ack(20)).is_empty());
    assert_eq!(talk.session.acknowledged(), 20);
}

#[test]
fn a_chain_that_parted_from_the_collectors_is_left() {
    let check = |length, forgotten, mark, tip: u64, hash: [u8; 32]| {
        let mut talk = Talk::new(length, mark);
        talk.chain.forget_oldest(forgotten);
        talk.greet();
        let effects = talk.welcome(tip, hash.to_vec());
        assert!(sent(&effects).is_empty(), "{effects:?}");
        assert_eq!(effects.last(), Some(&Effect::Disconnect));
        assert!(!talk.session.is_open());
        new_spool(&effects)
    };
    assert_eq!(check(3, 0, 2, 9, hash_of(9)), Some((NewSpool::Behind, 2)), "restored from a snapshot");
    assert_eq!(check(3, 0, 2, 3, hash_of(77)), Some((NewSpool::Differs, 2)));
    assert_eq!(check(5, 0, 5, 3, hash_of(77)), Some((NewSpool::Differs, 2)));
    assert_eq!(check(3, 0, 0, 1, hash_of(77)), Some((NewSpool::Differs, 0)));
    assert_eq!(check(20, 12, 20, 5, hash_of(5)), Some((NewSpool::Gap, 5)), "what follows is not kept");
    assert_eq!(
        check(20, 12, 20, 12, hash_of(13)),
        Some((NewSpool::Differs, 11)),
        "hash before the kept ones"
    );
}

#[test]
fn no_more_than_the_window_is_under_way() {
    let mut talk = Talk::new(1_000, 0);
    assert_eq!(sent(&talk.open(0)), (1..=WINDOW).collect::<Vec<_>>());
    assert_eq!(sent(&talk.tell(Event::EvidenceAppended)), [0u64; 0]);
    assert_eq!(sent(&talk.ack(10)), (WINDOW + 1..=WINDOW + 10).collect::<Vec<_>>());
    let mut acknowledged = 10;
    while acknowledged < 1_000 {
        acknowledged = (acknowledged + 100).min(1_000);
        talk.ack(acknowledged);
    }
    assert_eq!(talk.session.acknowledged(), 1_000);
}

#[test]
fn new_evidence_goes_out_at_once_when_the_link_is_open_and_waits_when_it_is_not() {
    let mut talk = Talk::new(0, 0);
    talk.chain.push(hash_of(1));
    assert_eq!(talk.tell(Event::EvidenceAppended), []);
    assert_eq!(sent(&talk.open(0)), [1]);
    talk.chain.push(hash_of(2));
    assert_eq!(sent(&talk.tell(Event::EvidenceAppended)), [2]);
    assert_eq!(sent(&talk.tell(Event::EvidenceAppended)), [0u64; 0], "nothing is sent twice on one link");
}

#[test]
fn acks_may_repeat_fall_back_and_skip_but_not_promise_what_was_not_sent() {
    let mut talk = Talk::new(5, 0);
    talk.open(0);
    assert_eq!(talk.ack(3), [Effect::SaveAck { sequence: 3 }]);
    assert_eq!(talk.ack(3), [], "again");
    assert_eq!(talk.ack(1), [], "late");
    assert_eq!(notes(&talk.ack(6)), ["the collector acknowledged sequence 6, which was not sent"]);
    let other = Body::Ack(wire::Ack { spool: "spl_b".into(), sequence: 4 });
    assert_eq!(notes(&talk.hear(other)).len(), 1);
    assert_eq!(talk.session.acknowledged(), 3);
    assert_eq!(talk.ack(5), [Effect::SaveAck { sequence: 5 }]);
}

#[test]
fn a_lost_ack_only_sends_again() {
    let mut talk = Talk::new(4, 0);
    assert_eq!(sent(&talk.open(0)), [1, 2, 3, 4]);
    talk.ack(2);
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(sent(&talk.open(2)), [3, 4]);
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(sent(&talk.open(4)), [0u64; 0], "it had arrived after all");
    assert_eq!(talk.session.acknowledged(), 4);
}

#[test]
fn refused_chains_start_over_with_what_the_collector_does_not_have() {
    for (reason, sequence, expected) in [
        (Reason::Forked, 4, Some((NewSpool::Forked, 4))),
        (Reason::BrokenChain, 4, Some((NewSpool::Broken, 2))),
        (Reason::Malformed, 4, Some((NewSpool::Unread, 4))),
        (Reason::Forked, u64::MAX, Some((NewSpool::Forked, 6))),
        (Reason::Forked, 0, Some((NewSpool::Forked, 2))),
        (Reason::Banned, 0, None),
        (Reason::BadSignature, 4, None),
        (Reason::WrongMachine, 4, None),
        (Reason::Unspecified, 4, None),
    ] {
        let mut talk = Talk::new(6, 0);
        talk.open(0);
        talk.ack(2);
        let effects = talk.refuse(reason, sequence);
        assert_eq!(new_spool(&effects), expected, "{reason:?}");
        assert_eq!(effects.last(), Some(&Effect::Disconnect), "{reason:?}");
        assert!(notes(&effects)[0].contains("(in  words)"), "{effects:?}");
        assert_eq!(talk.refuse(reason, sequence), [], "after the end nothing is heard");
    }
}

#[test]
fn a_new_spool_begins_at_nothing() {
    let mut talk = Talk::new(6, 0);
    talk.open(0);
    talk.ack(2);
    talk.refuse(Reason::Forked, 4);
    talk.chain = chain(2);
    talk.tell(Event::SpoolOpened);
    assert_eq!(talk.session.acknowledged(), 0);
    assert_eq!(sent(&talk.open(0)), [1, 2]);
}

#[test]
fn a_refusal_of_an_older_spool_changes_nothing() {
    let mut talk = Talk::new(2, 0);
    talk.open(0);
    let stale =
        wire::Refusal { reason: Reason::Forked.into(), spool: "spl_old".into(), ..Default::default() };
    assert_eq!(new_spool(&talk.hear(Body::Refusal(stale))), None);
    assert!(talk.session.is_open());
}

#[test]
fn new_spools_that_are_all_refused_end_in_patience() {
    let mut talk = Talk::new(2, 0);
    let mut opened = 0;
    for _ in 0..SPOOLS_IN_A_ROW_MAX + 1 {
        talk.open(0);
        let effects = talk.refuse(Reason::BrokenChain, 1);
        opened += u32::from(new_spool(&effects).is_some());
        talk.tell(Event::SpoolOpened);
    }
    assert_eq!(opened, SPOOLS_IN_A_ROW_MAX);
    assert!(talk.session.timer() - talk.now.uptime >= BACK_OFF_MAX / 2);
    talk.open(0);
    talk.ack(2);
    assert!(new_spool(&talk.refuse(Reason::BrokenChain, 2)).is_some(), "an ack ends the row");
}

#[test]
fn a_machine_nobody_wants_asks_slowly() {
    for seed in 0..200 {
        let mut talk = Talk::with_seed(1, 0, seed);
        talk.sleep();
        talk.tell(Event::Disconnected(Loss::Rejected));
        let wait = talk.session.timer() - talk.now.uptime;
        assert!(wait >= BACK_OFF_MAX / 2 && wait <= BACK_OFF_MAX, "{wait:?}");
        let mut talk = Talk::with_seed(1, 0, seed);
        talk.open(0);
        talk.refuse(Reason::Banned, 0);
        assert!(talk.session.timer() - talk.now.uptime >= BACK_OFF_MAX / 2);
    }
}

#[test]
fn back_off_doubles_to_a_quarter_of_an_hour_and_uses_all_of_its_span() {
    let mut longest = [Duration::ZERO; 14];
    let mut shortest = [Duration::MAX; 14];
    for seed in 0..400 {
        let mut talk = Talk::with_seed(0, 0, seed);
        assert!(talk.session.timer() <= BACK_OFF_FIRST);
        for failure in 0..longest.len() {
            talk.sleep();
            talk.tell(Event::Disconnected(Loss::Broken));
            let wait = talk.session.timer() - talk.now.uptime;
            longest[failure] = longest[failure].max(wait);
            shortest[failure] = shortest[failure].min(wait);
        }
    }
    for failure in 0..longest.len() {
        let ceiling = Duration::from_secs(1 << failure).min(BACK_OFF_MAX);
        assert!(longest[failure] <= ceiling, "{failure}: {:?}", longest[failure]);
        assert!(longest[failure] >= ceiling * 9 / 10, "{failure}: {:?}", longest[failure]);
        assert!(shortest[failure] <= ceiling / 10, "{failure}: {:?}", shortest[failure]);
    }
}

#[test]
fn who_is_told_when_to_come_again_comes_then_and_never_later_than_by_itself() {
    for (asked, longest) in [(7, 7), (0, 1), (100_000, BACK_OFF_MAX.as_secs())] {
        let (after, longest) = (Duration::from_secs(asked), Duration::from_secs(longest));
        for seed in 0..50 {
            let mut talk = Talk::with_seed(0, 0, seed);
            talk.sleep();
            talk.tell(Event::Disconnected(Loss::Asked { after }));
            let wait = talk.session.timer() - talk.now.uptime;
            assert!(wait >= after.min(BACK_OFF_MAX) && wait <= longest, "{asked}: {wait:?}");
        }
    }
}

#[test]
fn a_good_link_makes_the_next_back_off_short_and_a_flickering_one_does_not() {
    let wait_after = |open_for| {
        let mut longest = Duration::ZERO;
        for seed in 0..50 {
            let mut talk = Talk::with_seed(0, 0, seed);
            for _ in 0..12 {
                talk.open(0);
                talk.pass(open_for);
                talk.tell(Event::Disconnected(Loss::Broken));
                longest = longest.max(talk.session.timer() - talk.now.uptime);
            }
        }
        longest
    };
    assert!(wait_after(GOOD_LINK) <= BACK_OFF_FIRST);
    assert!(wait_after(Duration::from_secs(1)) > Duration::from_secs(600));
}

#[test]
fn nobody_is_waited_for_without_end() {
    let mut talk = Talk::new(0, 0);
    talk.sleep();
    let effects = talk.sleep();
    assert_eq!(effects, [Effect::Note(Note::Silent), Effect::Disconnect], "no connection");
    talk.greet();
    assert_eq!(talk.sleep(), [Effect::Note(Note::Silent), Effect::Disconnect], "no welcome");
}

#[test]
fn an_open_link_beats_within_the_interval_and_any_message_is_a_beat() {
    let mut talk = Talk::new(0, 0);
    talk.open(0);
    for _ in 0..50 {
        let wait = talk.session.timer() - talk.now.uptime;
        assert!(wait >= Duration::from_secs(54) && wait <= Duration::from_secs(60), "{wait:?}");
        let effects = talk.sleep();
        assert!(
            matches!(&effects[..], [Effect::Send(message)] if matches!(message.body, Some(wire::agent_message::Body::Beat(_)))),
            "{effects:?}"
        );
    }
    talk.pass(Duration::from_secs(50));
    talk.chain.push(hash_of(1));
    talk.tell(Event::EvidenceAppended);
    assert!(talk.session.timer() - talk.now.uptime >= Duration::from_secs(54));
}

#[test]
fn a_timer_that_is_late_does_what_is_due_and_one_that_is_early_does_nothing() {
    let mut talk = Talk::new(0, 0);
    talk.open(0);
    talk.pass(Duration::from_secs(53));
    assert_eq!(talk.tell(Event::Timer), []);
    talk.pass(Duration::from_secs(3_600));
    assert!(matches!(talk.tell(Event::Timer)[..], [Effect::Send(_)]));
}

#[test]
fn a_beat_says_how_much_waits() {
    let mut talk = Talk::new(5, 0);
    talk.open(0);
    talk.ack(3);
    let effects = talk.sleep();
    let [Effect::Send(wire::AgentMessage { body: Some(wire::agent_message::Body::Beat(beat)) })] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!((beat.waiting, beat.sent_at_ms), (2, instant::to_ms(talk.now.wall)));
}

fn welcomed_with_clock(talk: &mut Talk, ahead_ms: i64, round_trip: Duration) -> Vec<Effect> {
    talk.greet();
    let sent_ms = instant::to_ms(talk.now.wall);
    talk.pass(round_trip);
    let half_ms = i64::try_from(round_trip.as_millis() / 2).unwrap();
    let welcome = wire::Welcome {
        hello_sent_at_ms: sent_ms,
        now_ms: sent_ms.saturating_add(half_ms).saturating_add(ahead_ms),
        spool: "spl_a".into(),
        ..Default::default()
    };
    talk.hear(Body::Welcome(welcome))
}

#[test]
fn the_clock_is_corrected_by_the_collectors_at_the_middle_of_the_round_trip() {
    let limit = i64::try_from(CLOCK_STEP_MS_MAX).unwrap();
    for (ahead_ms, fresh_report) in
        [(0, false), (1_000, false), (-1_000, false), (limit, false), (limit + 1, true), (-limit - 1, true)]
    {
        let mut talk = Talk::new(0, 0);
        let effects = welcomed_with_clock(&mut talk, ahead_ms, Duration::from_secs(8));
        let corrected = Effect::CorrectClock { offset_ms: ahead_ms, fresh_report };
        assert_eq!(effects.contains(&corrected), ahead_ms != 0, "{ahead_ms}: {effects:?}");
        assert_eq!(talk.session.clock_offset_ms(), ahead_ms);
    }
}

#[test]
fn only_a_new_step_of_the_clock_asks_for_a_fresh_report() {
    let mut talk = Talk::new(0, 0);
    let hour_ms = 3_600_000;
    assert!(!welcomed_with_clock(&mut talk, hour_ms, Duration::ZERO).is_empty());
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(welcomed_with_clock(&mut talk, hour_ms, Duration::ZERO), []);
    talk.tell(Event::Disconnected(Loss::Broken));
    let back = Effect::CorrectClock { offset_ms: 0, fresh_report: true };
    assert_eq!(welcomed_with_clock(&mut talk, 0, Duration::ZERO), [back]);
}

#[test]
fn a_collectors_clock_out_of_all_years_is_not_followed() {
    for theirs in [i64::MAX, i64::MIN] {
        let mut talk = Talk::new(0, 0);
        talk.greet();
        let welcome = wire::Welcome { now_ms: theirs, spool: "spl_a".into(), ..Default::default() };
        assert_eq!(notes(&talk.hear(Body::Welcome(welcome))), ["the collector's clock shows no instant"]);
        assert!(talk.session.is_open() && talk.session.clock_offset_ms() == 0);
    }
}

#[test]
fn a_clock_that_was_put_right_loses_its_correction_and_a_sleep_does_not() {
    let hour_ms = 3_600_000;
    for (offset_ms, jump_ms, expected) in [
        (hour_ms, hour_ms, 0),
        (-hour_ms, -hour_ms, 0),
        (0, 8 * hour_ms, 0),
        (1_000, 8 * hour_ms, 1_000),
        (hour_ms, 2 * hour_ms, hour_ms),
    ] {
        let mut talk = Talk::new(0, 0);
        welcomed_with_clock(&mut talk, offset_ms, Duration::ZERO);
        let effects = talk.tell(Event::ClockJumped(jump_ms));
        assert_eq!(talk.session.clock_offset_ms(), expected, "{offset_ms} {jump_ms}");
        assert_eq!(effects.last(), Some(&Effect::Disconnect), "the next welcome tells for certain");
    }
}

#[test]
fn checkpoints_are_kept_unless_they_are_too_long() {
    let mut talk = Talk::new(0, 0);
    talk.greet();
    let note = || "note".to_owned();
    let welcome = wire::Welcome { spool: "spl_a".into(), checkpoint: note(), ..Default::default() };
    assert!(talk.hear(Body::Welcome(welcome)).contains(&Effect::KeepCheckpoint(note())));
    assert_eq!(talk.hear(Body::Checkpoint(note())), [Effect::KeepCheckpoint(note())]);
    assert_eq!(talk.hear(Body::Checkpoint(String::new())), []);
    let longest = "x".repeat(CHECKPOINT_LENGTH_MAX);
    assert_eq!(talk.hear(Body::Checkpoint(longest.clone())), [Effect::KeepCheckpoint(longest.clone())]);
    assert_eq!(talk.hear(Body::Checkpoint(longest + "x")), [Effect::Note(Note::LongCheckpoint)]);
}

#[test]
fn settings_are_applied_once_and_only_forward() {
    let mut talk = Talk::new(0, 0);
    talk.open(0);
    let offer = |key: &SigningKey, revision| {
        let settings = wire::Settings { revision, beat_interval_s: 10, ..Default::default() };
        Body::Settings(sign(key, Domain::Settings, settings.encode_to_vec()))
    };
    let service = talk.service.clone();
    assert!(matches!(&talk.hear(offer(&service, 2))[..], [Effect::ApplySettings { .. }]));
    assert_eq!(talk.session.settings().beat_interval, Duration::from_secs(10));
    assert_eq!(talk.hear(offer(&service, 2)), [], "sent again with each connection");
    assert_eq!(notes(&talk.hear(offer(&service, 1))), ["the settings have revision 1, not newer than 2"]);
    assert_eq!(
        notes(&talk.hear(offer(&new_key(), 9))),
        ["the settings are not signed by the collector's service key"]
    );
    assert_eq!(talk.session.settings().revision, 2);
}

#[test]
fn an_order_for_a_report_is_carried_out_and_answered_once() {
    let mut talk = Talk::new(0, 0);
    talk.open(0);
    let now_ms = instant::to_ms(talk.now.wall);
    let order = wire::Order {
        order: "ord_1".into(),
        machine: "mch_a".into(),
        action: wire::Action::ReportNow.into(),
        sequence: 7,
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + 60_000,
        ..wire::Order::default()
    };
    let by = |key: &SigningKey| Body::Order(delivery(sign(key, Domain::Order, order.encode_to_vec())));
    let service = talk.service.clone();
    let effects = talk.hear(by(&service));
    assert!(
        matches!(&effects[..], [Effect::RequestReport, Effect::AnswerOrder { result, floor }]
            if result.order == "ord_1" && floor.sequence == 7),
        "{effects:?}"
    );
    assert_eq!(notes(&talk.hear(by(&service))), ["order ord_1 was answered already"]);
}

#[test]
fn what_switches_anything_and_whose_orders_are_taken_is_asked_of_whoever_switches() {
    let mut talk = Talk::new(0, 0);
    talk.tell(Event::OrderKeys(3));
    talk.sleep();
    let hello = talk.tell(Event::Connected);
    assert!(
        hello.iter().any(|effect| matches!(effect, Effect::Send(message)
            if matches!(&message.body, Some(wire::agent_message::Body::Hello(hello)) if hello.order_keys_revision == 3))),
        "{hello:?}"
    );
    let order = wire::Order { action: wire::Action::SwitchOff.into(), ..wire::Order::default() };
    let signed = sign(&new_key(), Domain::Order, order.encode_to_vec());
    let sealed = wire::OrderDelivery { order: Some(signed.clone()), sealed: vec![1] };
    assert_eq!(talk.hear(Body::Order(sealed.clone())), [Effect::Note(Note::BeforeWelcome)]);
    talk.welcome(0, vec![]);
    assert_eq!(talk.hear(Body::Order(sealed.clone())), [Effect::Ask(Ask::Order(sealed))]);
    assert_eq!(talk.hear(Body::OrderKeys(signed.clone())), [Effect::Ask(Ask::Keys(signed))]);
}

#[test]
fn nothing_is_obeyed_or_kept_before_welcome_whoever_signed_it() {
    let mut talk = Talk::new(1, 1);
    let (service, release) = (talk.service.clone(), new_key());
    talk.session = talk.session.with_catalogue(3, Some(release.verifying_key()));
    talk.greet();
    let settings = wire::Settings { revision: 2, beat_interval_s: 10, ..Default::default() };
    let before = talk.session.settings().clone();
    for body in [
        Body::Settings(sign(&service, Domain::Settings, settings.encode_to_vec())),
        Body::Catalogue(catalogue(&release, 4, "")),
        Body::OrderKeys(wire::Signed::default()),
        Body::Order(delivery(wire::Signed::default())),
        Body::Checkpoint("note".into()),
        Body::Ack(wire::Ack { spool: "spl_a".into(), sequence: 1 }),
    ] {
        assert_eq!(talk.hear(body.clone()), [Effect::Note(Note::BeforeWelcome)], "{body:?}");
    }
    assert_eq!(*talk.session.settings(), before);
}

#[test]
fn forgery_and_evidence_that_does_not_get_through_are_for_a_person_to_look_at() {
    let refused = |reason| Note::Refused { reason, sequence: 1, detail: String::new() };
    let not_newer = PushedError::NotNewer { sent: 3, current: 3 };
    for (note, is_grave) in [
        (Note::Settings(SettingsError::Forged), true),
        (Note::Settings(SettingsError::Replayed { offered: 1, held: 2 }), false),
        (Note::Catalogue(Refused::NoReleaseKey), true),
        (Note::Catalogue(Refused::Unfit(not_newer)), false),
        (refused(Reason::Forked), true),
        (Note::SpoolsInVain, true),
        (Note::AckOfUnsent { sequence: 1 }, true),
        (Note::Silent, false),
        (Note::OtherSpool, false),
    ] {
        assert_eq!(note.is_grave(), is_grave, "{note}");
    }
}

#[test]
fn whatever_comes_before_welcome_twice_or_unknown_is_passed_over() {
    let mut talk = Talk::new(2, 0);
    talk.greet();
    assert_eq!(talk.ack(1), [Effect::Note(Note::BeforeWelcome)]);
    assert_eq!(
        talk.tell(Event::Received(wire::CollectorMessage { body: None })),
        [Effect::Note(Note::Unknown)]
    );
    assert_eq!(sent(&talk.welcome(0, vec![])), [1, 2]);
    assert_eq!(talk.welcome(0, vec![]), [Effect::Note(Note::WelcomeTwice)]);
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(talk.ack(1), [], "nobody is there");
    talk.greet();
    let other = wire::Welcome { spool: "spl_b".into(), ..Default::default() };
    assert_eq!(talk.hear(Body::Welcome(other)), [Effect::Note(Note::OtherSpool), Effect::Disconnect]);
}

/// A collector that loses, repeats and reorders acknowledgements and drops links; the seed decides.
#[test]
fn whatever_is_lost_or_late_everything_arrives_in_order() {
    for seed in 0..300 {
        let mut dice = Jitter::from_seed(seed);
        let mut throw =
            |sides: u64| u64::try_from(dice.up_to(Duration::from_millis(sides - 1)).as_millis()).unwrap();
        let mut talk = Talk::with_seed(throw(400), 0, seed);
        let mut held = 0;
        let mut acks: Vec<u64> = Vec::new();
        for _ in 0..2_000 {
            if held == talk.chain.tip() && talk.session.acknowledged() == held {
                break;
            }
            if !talk.session.is_open() {
                acks.clear();
                let effects = talk.open(held);
                deliver(&effects, &mut held, &mut acks);
                continue;
            }
            let effects = match throw(10) {
                0 => talk.tell(Event::Disconnected(Loss::Broken)),
                1 => {
                    let next = talk.chain.tip() + 1;
                    talk.chain.push(hash_of(next));
                    talk.tell(Event::EvidenceAppended)
                }
                2 if !acks.is_empty() => {
                    acks.clear();
                    vec![]
                }
                _ if !acks.is_empty() => {
                    let index = usize::try_from(throw(acks.len() as u64)).unwrap();
                    talk.ack(acks[index])
                }
                _ => talk.ack(held),
            };
            deliver(&effects, &mut held, &mut acks);
        }
        assert_eq!((held, talk.session.acknowledged()), (talk.chain.tip(), talk.chain.tip()), "seed {seed}");
    }
}

/// The gateway's rule: only the next one is taken, a repeat is acknowledged again.
fn deliver(effects: &[Effect], held: &mut u64, acks: &mut Vec<u64>) {
    assert_eq!(new_spool(effects), None);
    for sequence in sent(effects) {
        assert!(sequence <= *held + 1, "{sequence} came before {}", *held + 1);
        *held = sequence.max(*held);
        acks.push(sequence);
    }
}

fn catalogue(key: &SigningKey, version: u32, more: &str) -> wire::Signed {
    let file = format!("schema = \"seatbeat-catalogue/1\"\nversion = {version}\n{more}");
    sign(key, Domain::Catalogue, file.into_bytes())
}

/// What an agent that trusts `key` and uses version 3 does about a catalogue.
fn offered(key: Option<&SigningKey>, signed: wire::Signed) -> Vec<Effect> {
    let mut talk = Talk::new(1, 1);
    talk.session = talk.session.with_catalogue(3, key.map(SigningKey::verifying_key));
    talk.open(1);
    talk.hear(Body::Catalogue(signed))
}

#[test]
fn hello_names_the_catalogue_in_use_and_a_newer_one_counts_once_it_is_kept() {
    let key = new_key();
    let mut talk = Talk::new(1, 1);
    talk.session = talk.session.with_catalogue(3, Some(key.verifying_key()));
    let hello = |talk: &mut Talk| {
        assert!(matches!(talk.sleep()[..], [Effect::Connect { .. }]));
        match &talk.tell(Event::Connected)[..] {
            [Effect::Send(wire::AgentMessage { body: Some(wire::agent_message::Body::Hello(hello)) })] => {
                hello.catalogue_version
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hello(&mut talk), 3);
    talk.welcome(1, hash_of(1).to_vec());
    let newer = catalogue(&key, 4, "");
    let effects = talk.hear(Body::Catalogue(newer.clone()));
    match &effects[..] {
        [Effect::TakeCatalogue { catalogue, signed }] => {
            assert_eq!((catalogue.version, signed), (4, &newer));
        }
        other => panic!("{other:?}"),
    }
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(hello(&mut talk), 3, "it may not have been kept");
    talk.welcome(1, hash_of(1).to_vec());
    assert!(matches!(talk.hear(Body::Catalogue(newer.clone()))[..], [Effect::TakeCatalogue { .. }]));
    assert_eq!(talk.tell(Event::CatalogueTaken(4)), []);
    assert_eq!(notes(&talk.hear(Body::Catalogue(newer))).len(), 1, "it is in use");
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(hello(&mut talk), 4);
}

#[test]
fn a_catalogue_that_is_forged_older_too_long_or_not_understood_is_not_taken() {
    let (key, other) = (new_key(), new_key());
    let good = catalogue(&key, 4, "");
    let action = "[[product]]\nid = \"p\"\nname = \"P\"\ncount = \"none\"\nactions = \"format-disk\"\n";
    for (signed, words) in [
        (catalogue(&other, 4, ""), "failed to verify the catalogue"),
        (wire::Signed { payload: catalogue(&key, 5, "").payload, ..good.clone() }, "failed to verify"),
        (sign(&key, Domain::Settings, good.payload.clone()), "failed to verify the catalogue"),
        (wire::Signed::default(), "failed to verify the catalogue"),
        (catalogue(&key, 3, ""), "is version 3, and version 3 is in use"),
        (catalogue(&key, 2, ""), "is version 2, and version 3 is in use"),
        (catalogue(&key, 4, &"#".repeat(255 * 1024)), "bytes, and can have"),
        (catalogue(&key, 4, action), "format-disk"),
        (sign(&key, Domain::Catalogue, vec![0xFF]), "is not UTF-8"),
    ] {
        let effects = offered(Some(&key), signed);
        let said = notes(&effects);
        assert!(effects.len() == 1 && said[0].contains(words), "{effects:?}");
    }
    let said = notes(&offered(None, good));
    assert!(said[0].ends_with("this agent trusts no release key"), "{said:?}");
}

/// An order that no secrets come with.
fn delivery(order: wire::Signed) -> wire::OrderDelivery {
    wire::OrderDelivery { order: Some(order), sealed: Vec::new() }
}
