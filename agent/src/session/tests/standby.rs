//! Standing by: when, until when, and what happens when it is in vain.

use super::*;
use crate::session::standby::ANSWER_MAX;

const QUIET: Duration = Duration::from_secs(180);

/// Welcomed by a collector that lets agents stand by, with nothing that is not acknowledged.
fn open() -> Talk {
    let mut talk = Talk::new(3, 3);
    talk.standby_after_ms = u32::try_from(QUIET.as_millis()).unwrap();
    talk.open(3);
    talk
}

/// Beats until it does anything else.
fn next_but_beats(talk: &mut Talk) -> Vec<Effect> {
    loop {
        let effects = talk.sleep();
        if !is_beat(&effects) {
            return effects;
        }
    }
}

/// Whether it is a beat that wants an answer; none: it is no beat.
fn beat(effects: &[Effect]) -> Option<bool> {
    let [Effect::Send(wire::AgentMessage { body: Some(wire::agent_message::Body::Beat(beat)) })] = effects
    else {
        return None;
    };
    (beat.waiting == 0).then_some(beat.answer)
}

fn is_beat(effects: &[Effect]) -> bool {
    beat(effects).is_some()
}

fn says(talk: &mut Talk, come: bool, after_ms: u32) -> Vec<Effect> {
    talk.hear(Body::Standby(wire::Standby { come, after_ms }))
}

/// Stands by, and was told that all is well.
fn greeted() -> Talk {
    let mut talk = open();
    assert_eq!(next_but_beats(&mut talk), [Effect::StandBy { attempt: 0 }]);
    assert!(matches!(&talk.tell(Event::Connected)[..], [Effect::Send(hello)] if is_hello(hello)));
    assert_eq!(says(&mut talk, false, 0), []);
    talk
}

/// And that again, when it asked.
fn standing_by() -> Talk {
    let mut talk = greeted();
    while beat(&talk.sleep()) == Some(false) {}
    assert_eq!(says(&mut talk, false, 0), []);
    talk
}

fn is_hello(message: &wire::AgentMessage) -> bool {
    matches!(&message.body, Some(wire::agent_message::Body::Hello(hello)) if hello.sequence == 3)
}

#[test]
fn who_was_quiet_for_as_long_as_the_collector_says_stands_by() {
    let mut talk = open();
    let opened = talk.now.uptime;
    assert_eq!(next_but_beats(&mut talk), [Effect::StandBy { attempt: 0 }]);
    let quiet = talk.now.uptime - opened;
    assert!((QUIET..QUIET + Duration::from_secs(67)).contains(&quiet), "{quiet:?}");
    assert!(talk.session.is_connected() && !talk.session.is_open());
}

#[test]
fn a_collector_that_says_nothing_of_it_is_not_stood_by() {
    let mut talk = Talk::new(3, 3);
    talk.open(3);
    assert!((0..200).all(|_| beat(&talk.sleep()) == Some(false)));
}

#[test]
fn whatever_is_said_or_is_not_acknowledged_keeps_the_stream() {
    let mut heard = open();
    heard.pass(QUIET - Duration::from_secs(1));
    heard.hear(Body::Checkpoint("a note".into()));
    assert!(is_beat(&heard.sleep()), "it heard something just now");

    let mut sent = open();
    sent.chain.push(hash_of(4));
    sent.tell(Event::EvidenceAppended);
    for _ in 0..10 {
        let effects = sent.sleep();
        assert!(matches!(&effects[..], [Effect::Send(_)]), "{effects:?}");
    }
    sent.ack(4);
    assert!(is_beat(&sent.sleep()));
    assert_eq!(next_but_beats(&mut sent), [Effect::StandBy { attempt: 0 }]);
}

#[test]
fn on_standby_it_beats_and_asks_in_time_whether_the_collector_is_there() {
    let mut talk = standing_by();
    for _ in 0..50 {
        let before = talk.now.uptime;
        assert_eq!(beat(&talk.sleep()), Some(false));
        assert!((50..=67).contains(&(talk.now.uptime - before).as_secs()));
        assert_eq!(beat(&talk.sleep()), Some(true), "it has heard nothing for two minutes");
        assert_eq!(says(&mut talk, false, 0), []);
    }
    assert_eq!(beat(&talk.sleep()), Some(false));
    assert_eq!(beat(&talk.sleep()), Some(true));
    let before = talk.now.uptime;
    assert_eq!(talk.sleep(), [Effect::Note(Note::Silent), Effect::Disconnect]);
    assert_eq!(talk.now.uptime - before, ANSWER_MAX);
    assert!(!talk.session.is_connected());
}

#[test]
fn beats_that_come_fast_do_not_put_off_the_answer_that_is_owed() {
    let mut talk = standing_by();
    let quick = wire::Settings { revision: 1, beat_interval_s: 5, ..Default::default() };
    let signed = sign(&talk.service, Domain::Settings, quick.encode_to_vec());
    assert!(matches!(&talk.hear(Body::Settings(signed))[..], [Effect::ApplySettings { .. }]));
    while beat(&talk.sleep()) == Some(false) {}
    let before = talk.now.uptime;
    while is_beat(&talk.sleep()) {}
    assert!(!talk.session.is_connected());
    assert_eq!(talk.now.uptime - before, ANSWER_MAX);
}

#[test]
fn who_is_called_or_has_something_to_say_opens_a_stream_at_once_where_it_stood_by() {
    let mut called = standing_by();
    assert_eq!(says(&mut called, true, 0), [Effect::Disconnect]);
    let mut says = standing_by();
    says.chain.push(hash_of(4));
    assert_eq!(says.tell(Event::EvidenceAppended), [Effect::Disconnect]);
    for mut talk in [called, says] {
        let at = talk.now.uptime;
        assert_eq!(talk.sleep(), [Effect::Connect { attempt: 0 }]);
        assert_eq!(talk.now.uptime, at);
        talk.tell(Event::Connected);
        let tip = talk.chain.tip();
        assert_eq!(sent(&talk.welcome(3, hash_of(3).to_vec())), (4..=tip).collect::<Vec<_>>());
    }
}

#[test]
fn what_happens_while_it_retires_is_said_in_a_stream() {
    let mut talk = open();
    next_but_beats(&mut talk);
    talk.chain.push(hash_of(4));
    assert_eq!(talk.tell(Event::EvidenceAppended), [Effect::Disconnect]);
    assert_eq!(talk.sleep(), [Effect::Connect { attempt: 0 }]);
}

#[test]
fn a_collector_that_ends_is_stood_by_again_when_it_said() {
    let mut talk = standing_by();
    let at = talk.now.uptime;
    assert_eq!(says(&mut talk, false, 7_000), [Effect::Disconnect]);
    assert_eq!(talk.sleep(), [Effect::StandBy { attempt: 1 }]);
    assert_eq!(talk.now.uptime - at, Duration::from_secs(7));
}

#[test]
fn through_an_outage_who_stood_by_stands_by_again_unless_there_is_something_to_say() {
    let mut talk = standing_by();
    talk.tell(Event::Disconnected(Loss::Broken));
    for attempt in 1..=9 {
        assert_eq!(talk.sleep(), [Effect::StandBy { attempt }]);
        talk.tell(Event::Disconnected(Loss::Unreachable));
    }
    let mut says_something = standing_by();
    says_something.tell(Event::Disconnected(Loss::Broken));
    says_something.chain.push(hash_of(4));
    says_something.tell(Event::EvidenceAppended);
    assert_eq!(says_something.sleep(), [Effect::Connect { attempt: 1 }]);

    assert_eq!(talk.sleep(), [Effect::StandBy { attempt: 10 }]);
    talk.tell(Event::Connected);
    assert_eq!(says(&mut talk, false, 0), []);
    while beat(&talk.sleep()) == Some(false) {}
    assert_eq!(says(&mut talk, false, 0), []);
    talk.tell(Event::Disconnected(Loss::Broken));
    let at = talk.now.uptime;
    assert!(matches!(talk.sleep()[..], [Effect::StandBy { .. }]));
    assert!(talk.now.uptime - at <= BACK_OFF_FIRST, "one that went well begins small again");
}

#[test]
fn whom_the_collector_no_longer_lets_stand_by_opens_a_stream() {
    let mut talk = standing_by();
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(talk.sleep(), [Effect::StandBy { attempt: 1 }]);
    talk.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(talk.sleep(), [Effect::Connect { attempt: 2 }]);
}

#[test]
fn standing_by_in_vain_is_tried_less_often_each_time_and_as_before_once_it_went_well() {
    let mut talk = open();
    let (mut tried, mut waited) = (None, Vec::new());
    for number in 0..12 {
        assert!(matches!(next_but_beats(&mut talk)[..], [Effect::StandBy { .. }]), "{number}");
        let now = talk.now.uptime;
        waited.extend(tried.replace(now).map(|before| (now - before).as_secs() / QUIET.as_secs()));
        match number {
            // Something on the way lets no such connection through, or swallows it.
            0 => drop(talk.tell(Event::Disconnected(Loss::Broken))),
            1 => {
                assert_eq!(talk.sleep(), [Effect::Note(Note::Silent), Effect::Disconnect]);
                assert_eq!(talk.now.uptime - now, GREETING_MAX);
            }
            2 => {
                talk.tell(Event::Connected);
                assert!(!talk.session.stands_by());
                assert_eq!(talk.sleep(), [Effect::Note(Note::Silent), Effect::Disconnect]);
            }
            // Or lets it stand for a moment, or it is called each time for what it then does not take.
            _ => {
                talk.tell(Event::Connected);
                says(&mut talk, false, 0);
                match number % 2 {
                    0 => drop(says(&mut talk, true, 0)),
                    _ => drop(talk.tell(Event::Disconnected(Loss::Broken))),
                }
            }
        }
        // What is said meanwhile does not put it off for ever.
        talk.open(3);
        talk.hear(Body::Checkpoint("a note".into()));
    }
    assert_eq!(waited[..8], [2, 4, 8, 16, 32, 64, 128, 256]);
    assert_eq!(waited[8..], [256; 3]);

    next_but_beats(&mut talk);
    talk.tell(Event::Connected);
    says(&mut talk, false, 0);
    while beat(&talk.sleep()) == Some(false) {}
    says(&mut talk, false, 0);
    says(&mut talk, true, 0);
    talk.open(3);
    let opened = talk.now.uptime;
    assert!(matches!(next_but_beats(&mut talk)[..], [Effect::StandBy { .. }]));
    assert_eq!((talk.now.uptime - opened).as_secs() / QUIET.as_secs(), 1);
}

#[test]
fn one_that_breaks_before_it_has_stood_for_a_while_is_followed_by_a_stream() {
    let mut talk = greeted();
    talk.tell(Event::Disconnected(Loss::Broken));
    assert!(matches!(talk.sleep()[..], [Effect::Connect { .. }]));
}

#[test]
fn without_pings_it_beats_often_enough_whatever_the_settings_say() {
    let mut talk = standing_by();
    let slow = wire::Settings { revision: 1, beat_interval_s: 3600, ..Default::default() };
    let signed = sign(&talk.service, Domain::Settings, slow.encode_to_vec());
    talk.hear(Body::Settings(signed));
    talk.sleep();
    for _ in 0..10 {
        says(&mut talk, false, 0);
        let before = talk.now.uptime;
        assert!(is_beat(&talk.sleep()));
        assert!(talk.now.uptime - before <= ASK_AFTER + ASK_AFTER / 10);
    }
}

#[test]
fn on_standby_nothing_is_believed_but_settings_and_the_call() {
    let mut talk = standing_by();
    let refusal = wire::Refusal { spool: "spl_a".into(), sequence: 3, ..Default::default() };
    let bodies = [
        Body::Ack(wire::Ack { spool: "spl_a".into(), sequence: 3 }),
        Body::Refusal(refusal),
        Body::Welcome(wire::Welcome::default()),
        Body::Order(wire::OrderDelivery::default()),
    ];
    for body in bodies {
        assert_eq!(talk.hear(body), [Effect::Note(Note::Unknown)]);
    }
    assert!(talk.session.is_connected());
}

#[test]
fn what_belongs_on_standby_means_nothing_in_a_stream() {
    let mut talk = open();
    for (come, after_ms) in [(false, 0), (true, 0), (false, 5)] {
        assert_eq!(says(&mut talk, come, after_ms), [Effect::Note(Note::Unknown)]);
        assert!(talk.session.is_open());
    }
}

#[test]
fn a_clock_that_jumped_is_compared_again_in_a_stream() {
    let mut talk = standing_by();
    assert_eq!(talk.tell(Event::ClockJumped(90_000)), [Effect::Disconnect]);
    assert!(matches!(talk.sleep()[..], [Effect::Connect { .. }]));
    let mut away = standing_by();
    away.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(away.tell(Event::ClockJumped(90_000)), []);
    assert!(matches!(away.sleep()[..], [Effect::Connect { .. }]));
}

#[test]
fn it_is_connected_while_it_goes_from_a_stream_to_standby_and_not_while_nobody_answers() {
    let mut talk = open();
    next_but_beats(&mut talk);
    assert!(talk.session.is_connected());
    let mut away = standing_by();
    away.tell(Event::Disconnected(Loss::Broken));
    assert_eq!(away.sleep(), [Effect::StandBy { attempt: 1 }]);
    assert!(!away.session.is_connected());
}
