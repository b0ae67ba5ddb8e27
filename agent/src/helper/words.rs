//! What the agent and its helper say to each other: frames of one small message each. Invariant: bounded in size and in
//! time, and whoever says anything else is not spoken to any more; an order stays the bytes that were signed.

use std::io::{self, Read, Write};
use std::time::Duration;

use jiff::Timestamp;
use prost::Message;
use seatbeat_proto::frame::{self, Frame, HEADER_LENGTH};
use seatbeat_proto::ids::ProductId;
use seatbeat_proto::wire;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::act::arm::{Ask, Notice, OrderLine, Standing, Told};
use crate::detect::watch::Look;
use crate::plain::plain;

/// Bytes of a message: the largest is a pushed catalogue, which comes over the link as one message as well.
pub const LENGTH_MAX: usize = wire::MESSAGE_LENGTH_MAX + 1024;

/// How long the rest of a message that has begun may take: both ends are on one machine.
pub const MESSAGE_TIME: Duration = Duration::from_secs(5);

/// Lines of orders, and switched-off products, that are taken over.
const LIST_MAX: usize = 1000;

/// What the agent says.
#[derive(Clone, PartialEq, Message)]
pub struct Said {
    /// One of them.
    #[prost(oneof = "Saying", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    pub saying: Option<Saying>,
}

/// See [`Said`]. The first one on a connection decides what it is for: [`Saying::Look`] ends with its answer.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Saying {
    /// Orders are spoken of from here on.
    #[prost(message, tag = "1")]
    Orders(Nothing),
    /// [`Ask::Recap`]
    #[prost(message, tag = "2")]
    Recap(Nothing),
    /// [`Ask::Order`]
    #[prost(message, tag = "3")]
    Order(wire::OrderDelivery),
    /// [`Ask::Keys`]
    #[prost(message, tag = "4")]
    Keys(wire::Signed),
    /// [`Ask::Clock`], milliseconds.
    #[prost(sint64, tag = "5")]
    Clock(i64),
    /// [`Ask::Wake`]
    #[prost(message, tag = "6")]
    Wake(Nothing),
    /// [`Ask::Kept`]
    #[prost(message, tag = "7")]
    Kept(KeptResult),
    /// [`Ask::Forget`]
    #[prost(message, tag = "8")]
    Forget(Nothing),
    /// What is on the machine is wanted.
    #[prost(message, tag = "9")]
    Look(LookAt),
}

/// Says all by being there.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Nothing {}

/// A result that is in the spool.
#[derive(Clone, PartialEq, Message)]
pub struct KeptResult {
    /// Whose.
    #[prost(string, tag = "1")]
    pub order: String,
    /// Which, of [`wire::Outcome`].
    #[prost(int32, tag = "2")]
    pub outcome: i32,
}

/// How closely is to be looked.
#[derive(Clone, PartialEq, Message)]
pub struct LookAt {
    /// 0: at everything; 1: at changes; 2: at changes, and the vendor's programs are asked.
    #[prost(uint32, tag = "1")]
    pub look: u32,
    /// A newer catalogue than the helper has, as it was signed.
    #[prost(message, optional, tag = "2")]
    pub catalogue: Option<wire::Signed>,
    /// The time that reports are made by, Unix milliseconds.
    #[prost(sint64, tag = "3")]
    pub at_ms: i64,
}

impl LookAt {
    /// How a look is asked for.
    pub fn number(look: Look) -> u32 {
        match look {
            Look::Everything => 0,
            Look::Changes => 1,
            Look::ChangesAndVoices => 2,
        }
    }

    /// What is asked for; more where it is not known.
    pub fn look(&self) -> Look {
        match self.look {
            1 => Look::Changes,
            2 => Look::ChangesAndVoices,
            _ => Look::Everything,
        }
    }
}

/// What the helper answers.
#[derive(Clone, PartialEq, Message)]
pub struct Answered {
    /// One of them.
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub answer: Option<Answer>,
}

/// See [`Answered`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Answer {
    /// [`Told::Standing`]
    #[prost(message, tag = "1")]
    Standing(StandingText),
    /// [`Told::Result`]
    #[prost(message, tag = "2")]
    Result(wire::OrderResult),
    /// [`Told::Noticed`]
    #[prost(message, tag = "3")]
    Noticed(NoticeText),
    /// The answer to a look.
    #[prost(message, tag = "4")]
    Seen(SeenText),
    /// Why it could not look.
    #[prost(string, tag = "5")]
    Blind(String),
    /// There is nothing to do: it ends once the connection does, and is started again by whoever speaks to it.
    #[prost(message, tag = "6")]
    Leaves(Nothing),
    /// It does not do that now, and why.
    #[prost(string, tag = "7")]
    Refused(String),
}

/// [`Standing`]
#[derive(Clone, PartialEq, Message)]
pub struct StandingText {
    #[prost(message, optional, tag = "1")]
    seal_key: Option<wire::SealKey>,
    #[prost(string, repeated, tag = "2")]
    switched_off: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    orders: Vec<LineText>,
    #[prost(uint64, optional, tag = "4")]
    wake_in_ms: Option<u64>,
    #[prost(string, tag = "5")]
    unenrolled: String,
}

/// [`OrderLine`]
#[derive(Clone, PartialEq, Message)]
pub struct LineText {
    #[prost(string, tag = "1")]
    order: String,
    #[prost(string, tag = "2")]
    action: String,
    #[prost(string, tag = "3")]
    product: String,
    #[prost(string, tag = "4")]
    outcome: String,
    #[prost(string, tag = "5")]
    detail: String,
    #[prost(sint64, tag = "6")]
    at_ms: i64,
}

/// [`Notice`]
#[derive(Clone, PartialEq, Message)]
pub struct NoticeText {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(bool, tag = "2")]
    grave: bool,
}

/// What was seen.
#[derive(Clone, PartialEq, Message)]
pub struct SeenText {
    /// The vendor's products.
    #[prost(message, repeated, tag = "1")]
    pub products: Vec<wire::FoundProduct>,
    /// Hardware and system facts.
    #[prost(message, optional, tag = "2")]
    pub facts: Option<wire::Facts>,
    /// Version of the catalogue that told the products.
    #[prost(uint32, tag = "3")]
    pub catalogue_version: u32,
}

impl From<Ask> for Saying {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Recap => Self::Recap(Nothing {}),
            Ask::Order(delivery) => Self::Order(delivery),
            Ask::Keys(signed) => Self::Keys(signed),
            Ask::Clock { offset_ms } => Self::Clock(offset_ms),
            Ask::Wake => Self::Wake(Nothing {}),
            Ask::Kept { order, outcome } => {
                Self::Kept(KeptResult { order: order.to_string(), outcome: outcome.into() })
            }
            Ask::Forget => Self::Forget(Nothing {}),
        }
    }
}

/// What the helper does not answer to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing that is understood was said")]
pub struct NotUnderstood;

impl TryFrom<Saying> for Ask {
    type Error = NotUnderstood;

    fn try_from(saying: Saying) -> Result<Self, NotUnderstood> {
        Ok(match saying {
            Saying::Recap(_) => Self::Recap,
            Saying::Order(delivery) => Self::Order(delivery),
            Saying::Keys(signed) => Self::Keys(signed),
            // Whoever speaks is not trusted with the time: a clock can be said to be late, which has orders expire
            // sooner, but not early, which would bring expired ones to life.
            Saying::Clock(offset_ms) => Self::Clock { offset_ms: offset_ms.max(0) },
            Saying::Wake(_) => Self::Wake,
            Saying::Kept(kept) => Self::Kept {
                order: kept.order.parse().map_err(|_| NotUnderstood)?,
                outcome: wire::Outcome::try_from(kept.outcome).map_err(|_| NotUnderstood)?,
            },
            Saying::Forget(_) => Self::Forget,
            Saying::Orders(_) | Saying::Look(_) => return Err(NotUnderstood),
        })
    }
}

impl From<Told> for Answer {
    fn from(told: Told) -> Self {
        match told {
            Told::Standing(standing) => Self::Standing(StandingText {
                seal_key: Some(standing.seal_key),
                switched_off: standing.switched_off.iter().map(ProductId::to_string).collect(),
                orders: standing.orders.into_iter().map(LineText::from).collect(),
                wake_in_ms: standing.wake_in.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                unenrolled: standing.unenrolled.map(|id| id.to_string()).unwrap_or_default(),
            }),
            Told::Result(result) => Self::Result(result),
            Told::Noticed(Notice { what, grave }) => Self::Noticed(NoticeText { what, grave }),
        }
    }
}

impl TryFrom<Answer> for Told {
    type Error = NotUnderstood;

    fn try_from(answer: Answer) -> Result<Self, NotUnderstood> {
        Ok(match answer {
            Answer::Standing(text) => Self::Standing(text.try_into()?),
            Answer::Result(result) => Self::Result(result),
            Answer::Noticed(NoticeText { what, grave }) => {
                Self::Noticed(Notice { what: plain(&what), grave })
            }
            Answer::Seen(_) | Answer::Blind(_) | Answer::Leaves(_) | Answer::Refused(_) => {
                return Err(NotUnderstood);
            }
        })
    }
}

impl From<OrderLine> for LineText {
    fn from(line: OrderLine) -> Self {
        let OrderLine { order, action, product, outcome, detail, at } = line;
        Self { order, action, product, outcome, detail, at_ms: at.as_millisecond() }
    }
}

impl TryFrom<StandingText> for Standing {
    type Error = NotUnderstood;

    fn try_from(text: StandingText) -> Result<Self, NotUnderstood> {
        let line = |line: LineText| OrderLine {
            order: line.order,
            action: line.action,
            product: line.product,
            outcome: line.outcome,
            detail: line.detail,
            at: Timestamp::from_millisecond(line.at_ms).unwrap_or_default(),
        };
        let products = text.switched_off.iter().take(LIST_MAX).map(|product| product.parse());
        Ok(Self {
            seal_key: text.seal_key.unwrap_or_default(),
            switched_off: products.collect::<Result<_, _>>().map_err(|_| NotUnderstood)?,
            orders: text.orders.into_iter().take(LIST_MAX).map(line).collect(),
            wake_in: text.wake_in_ms.map(Duration::from_millis),
            unenrolled: match text.unenrolled.as_str() {
                "" => None,
                id => Some(id.parse().map_err(|_| NotUnderstood)?),
            },
        })
    }
}

fn framed(message: &impl Message) -> io::Result<Vec<u8>> {
    let body = message.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER_LENGTH + body.len());
    if body.len() > LENGTH_MAX {
        return Err(io::Error::other("a message is longer than the helper takes"));
    }
    frame::append(&mut bytes, &body).map_err(io::Error::other)?;
    Ok(bytes)
}

fn length(header: [u8; HEADER_LENGTH]) -> io::Result<usize> {
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > LENGTH_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(length)
}

fn message<M: Message + Default>(bytes: &[u8]) -> io::Result<M> {
    match frame::read(bytes) {
        Frame::Whole { body, .. } => M::decode(body).map_err(|_| io::ErrorKind::InvalidData.into()),
        Frame::Torn | Frame::Damaged | Frame::End => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Reads a message; waits for its beginning as long as it takes. `None`: the other end is gone.
///
/// # Errors
/// When it is none, too long, or stops in the middle.
pub async fn receive<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<M>> {
    let mut bytes = vec![0; HEADER_LENGTH];
    if from.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        from.read_exact(&mut bytes[1..]).await?;
        let mut header = [0; HEADER_LENGTH];
        header.copy_from_slice(&bytes);
        bytes.resize(HEADER_LENGTH + length(header)?, 0);
        from.read_exact(&mut bytes[HEADER_LENGTH..]).await?;
        message(&bytes)
    };
    timeout(MESSAGE_TIME, rest).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(Some)
}

/// Writes a message.
///
/// # Errors
/// When it is too long, or the other end takes nothing.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), message: &impl Message) -> io::Result<()> {
    let bytes = framed(message)?;
    timeout(MESSAGE_TIME, to.write_all(&bytes)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// As [`receive`], on a thread that may wait; as long as the reader does.
///
/// # Errors
/// As [`receive`], and when the other end is gone.
pub fn receive_blocking<M: Message + Default>(from: &mut impl Read) -> io::Result<M> {
    let mut bytes = vec![0; HEADER_LENGTH];
    from.read_exact(&mut bytes)?;
    let mut header = [0; HEADER_LENGTH];
    header.copy_from_slice(&bytes);
    bytes.resize(HEADER_LENGTH + length(header)?, 0);
    from.read_exact(&mut bytes[HEADER_LENGTH..])?;
    message(&bytes)
}

/// As [`send`], on a thread that may wait.
///
/// # Errors
/// As [`send`].
pub fn send_blocking(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    to.write_all(&framed(message)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_told_comes_out_as_it_went_in() {
        let delivery = wire::OrderDelivery { sealed: vec![1, 2], ..wire::OrderDelivery::default() };
        for ask in [
            Ask::Recap,
            Ask::Order(delivery),
            Ask::Keys(wire::Signed { payload: vec![3], ..wire::Signed::default() }),
            Ask::Clock { offset_ms: 90_000 },
            Ask::Wake,
            Ask::Kept { order: "ord_1".parse().unwrap(), outcome: wire::Outcome::Done },
            Ask::Forget,
        ] {
            assert_eq!(Ask::try_from(Saying::from(ask.clone())), Ok(ask));
        }
        let line = OrderLine {
            order: "ord_1".into(),
            action: "switch off".into(),
            product: "dsa".into(),
            outcome: "done".into(),
            detail: "it is off".into(),
            at: Timestamp::from_second(7).unwrap(),
        };
        let standing = Standing {
            switched_off: vec!["dsa".parse().unwrap()],
            orders: vec![line],
            wake_in: Some(Duration::from_millis(1500)),
            unenrolled: Some("ord_9".parse().unwrap()),
            ..Standing::default()
        };
        for told in [
            Told::Standing(standing),
            Told::Standing(Standing::default()),
            Told::Result(wire::OrderResult { order: "ord_1".into(), ..wire::OrderResult::default() }),
            Told::Noticed(Notice { what: "an order is forged".into(), grave: true }),
        ] {
            assert_eq!(Told::try_from(Answer::from(told.clone())), Ok(told));
        }
    }

    #[test]
    fn a_clock_cannot_be_said_to_be_early() {
        assert_eq!(Ask::try_from(Saying::Clock(-1)), Ok(Ask::Clock { offset_ms: 0 }));
        assert_eq!(Ask::try_from(Saying::Clock(5)), Ok(Ask::Clock { offset_ms: 5 }));
    }

    #[test]
    fn odd_words_are_not_understood() {
        let odd = KeptResult { order: "no id".into(), outcome: 1 };
        assert_eq!(Ask::try_from(Saying::Kept(odd)), Err(NotUnderstood));
        let odd = StandingText { switched_off: vec!["No Product!".into()], ..StandingText::default() };
        assert_eq!(Told::try_from(Answer::Standing(odd)), Err(NotUnderstood));
        assert_eq!(Told::try_from(Answer::Leaves(Nothing {})), Err(NotUnderstood));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_message_too_long_or_stops_in_the_middle_is_an_error() {
        let whole = framed(&Said { saying: Some(Saying::Wake(Nothing {})) }).unwrap();
        let read = async |bytes: &[u8]| receive::<Said>(&mut &bytes[..]).await;
        assert!(matches!(read(&whole).await, Ok(Some(_))));
        assert!(matches!(read(&[]).await, Ok(None)));
        for cut in 1..whole.len() {
            assert!(read(&whole[..cut]).await.is_err(), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).await.is_err(), "bit {bit}");
        }
        let endless = u32::try_from(LENGTH_MAX + 1).unwrap().to_le_bytes();
        assert!(read(&[endless, [0; 4]].concat()).await.is_err());
        let (mut end, mut slow) = tokio::io::duplex(64);
        slow.write_all(&whole[..3]).await.unwrap();
        let stuck = receive::<Said>(&mut end).await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }
}
