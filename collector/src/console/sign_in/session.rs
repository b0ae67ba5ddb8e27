//! A session: what a browser's cookie stands for. Invariant: of the cookie only a hash is kept; a session ends when it
//! was not used for a while, and in any case after half a day.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jiff::{SignedDuration, Timestamp};
use seatbeat_proto::ids::OperatorId;
use seatbeat_proto::signed::hash;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::random;

/// Without a request for so long it is over: a lunch break is longer.
pub const IDLE_MAX: SignedDuration = SignedDuration::from_mins(30);

/// From signing in on: a long day's work.
pub const LIFE_MAX: SignedDuration = SignedDuration::from_hours(12);

/// After so long the next request gets another cookie.
const ROTATE_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// How long the cookie before is good for what was under way.
const PREVIOUS_GOOD: SignedDuration = SignedDuration::from_secs(60);

/// How often it is noted that a session is used: each note is a write.
const NOTE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// How somebody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A name and a password.
    Password,
    /// An identity provider.
    Oidc,
    /// A code that was good once.
    Link,
}

impl Means {
    /// As records and answers name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Oidc => "oidc",
            Self::Link => "link",
        }
    }
}

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub operator: OperatorId,
    /// How it came to be.
    pub means: Means,
    id_hash: [u8; 32],
    /// The cookie before, and until when it is good.
    previous: Option<([u8; 32], Timestamp)>,
    /// What forms of this session prove: it stays over all its cookies.
    form_secret: [u8; 32],
    created_at: Timestamp,
    used_at: Timestamp,
    rotated_at: Timestamp,
}

/// What is due at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// To note that it is used.
    Note,
    /// Another cookie.
    Rotation,
}

impl Session {
    /// As it lies in the vault.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a session has text keys and plain values")
    }

    /// What lies in the vault; none where it is not a session.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// A new one, with its cookie.
    pub fn new(operator: OperatorId, means: Means, now: Timestamp) -> (Self, Zeroizing<String>) {
        let (id, id_hash) = new_id();
        let form_secret = random();
        let (created_at, used_at, rotated_at) = (now, now, now);
        let session =
            Self { operator, means, id_hash, previous: None, form_secret, created_at, used_at, rotated_at };
        (session, id)
    }

    /// Whether a cookie with this hash stands for it.
    pub fn is(&self, id_hash: &[u8; 32], now: Timestamp) -> bool {
        // Hashes of 256 random bits: the time it takes to compare them tells nothing that leads to a cookie.
        self.id_hash == *id_hash || self.previous.is_some_and(|(hash, until)| hash == *id_hash && now < until)
    }

    /// Whether it is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at() <= now
    }

    /// When it is over unless it is used.
    pub fn expires_at(&self) -> Timestamp {
        (self.used_at + IDLE_MAX).min(self.created_at + LIFE_MAX)
    }

    /// What is due when it is used with this cookie.
    pub fn due(&self, id_hash: &[u8; 32], now: Timestamp) -> Due {
        if self.id_hash == *id_hash && now >= self.rotated_at + ROTATE_AFTER {
            Due::Rotation
        } else if now >= self.used_at + NOTE_AFTER {
            Due::Note
        } else {
            Due::Nothing
        }
    }

    /// Notes that it is used.
    #[must_use]
    pub fn noted(&self, now: Timestamp) -> Self {
        Self { used_at: now, ..self.clone() }
    }

    /// The same under another cookie; the one before is good for a moment.
    #[must_use]
    pub fn rotated(&self, now: Timestamp) -> (Self, Zeroizing<String>) {
        let (id, id_hash) = new_id();
        let previous = Some((self.id_hash, now + PREVIOUS_GOOD));
        (Self { id_hash, previous, used_at: now, rotated_at: now, ..self.clone() }, id)
    }

    /// The same under another cookie, and the one before is good for nothing.
    #[must_use]
    pub fn renewed(&self, now: Timestamp) -> (Self, Zeroizing<String>) {
        let (session, id) = self.rotated(now);
        (Self { previous: None, ..session }, id)
    }

    /// What a request of this session has to carry beside the cookie.
    pub fn csrf(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.mac().finalize().into_bytes())
    }

    /// Whether a request carries it.
    pub fn has_csrf(&self, text: &str) -> bool {
        URL_SAFE_NO_PAD.decode(text).is_ok_and(|given| self.mac().verify_slice(&given).is_ok())
    }

    fn mac(&self) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.form_secret).expect("HMAC takes keys of any length");
        mac.chain_update(b"seatbeat forms")
    }

    /// The instant it was made.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

fn new_id() -> (Zeroizing<String>, [u8; 32]) {
    let secret = Zeroizing::new(random::<32>());
    let id = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
    let id_hash = hash(id.as_bytes());
    (id, id_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (Session, [u8; 32]) {
        let (session, id) = Session::new("opr_a".parse().unwrap(), Means::Password, Timestamp::UNIX_EPOCH);
        (session, hash(id.as_bytes()))
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn it_ends_when_it_is_idle_and_after_half_a_day() {
        let (session, _) = session();
        assert!(!session.is_over(at(29)) && session.is_over(at(30)));
        assert!(!session.noted(at(29)).is_over(at(58)));
        let used = (0..60).fold(session, |session, turn| session.noted(at(20 * turn)));
        assert!(used.is_over(at(12 * 60)), "whatever it was used for");
    }

    #[test]
    fn another_cookie_is_due_after_a_while_and_the_old_one_is_good_for_a_moment() {
        let (session, old) = session();
        assert_eq!(session.due(&old, at(0)), Due::Nothing);
        assert_eq!(session.due(&old, at(1)), Due::Note);
        assert_eq!(session.due(&old, at(15)), Due::Rotation);
        let (rotated, id) = session.rotated(at(15));
        assert!(rotated.is(&hash(id.as_bytes()), at(15)) && rotated.is(&old, at(15)));
        assert_ne!(rotated.due(&old, at(15)), Due::Rotation, "the old one makes no other");
        assert!(!rotated.is(&old, at(16)));
        assert!(!rotated.renewed(at(16)).0.is(&hash(id.as_bytes()), at(16)));
        assert_eq!(rotated.csrf(), session.csrf(), "a form that is open can still be sent");
    }

    #[test]
    fn a_form_of_another_session_proves_nothing() {
        let ((one, _), (other, _)) = (session(), session());
        assert!(one.has_csrf(&one.csrf()));
        assert!(!one.has_csrf(&other.csrf()) && !one.has_csrf("") && !one.has_csrf("%"));
    }
}
