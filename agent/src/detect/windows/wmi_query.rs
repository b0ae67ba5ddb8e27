//! One question to WMI, on a thread of its own. Invariant: whoever asks waits for a limited time; while a question hangs no
//! other is asked, so that a broken repository costs one thread and no more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use wmi::{Variant, WMIConnection, WMIError};

/// A healthy machine answers within a second, a busy one within some.
const TIME_MAX: Duration = Duration::from_secs(15);

/// There is no such namespace, or no such class.
const ABSENT: [i32; 3] = [0x8004_100E_u32 as i32, 0x8004_1010_u32 as i32, 0x8004_1002_u32 as i32];

static HANGS: AtomicBool = AtomicBool::new(false);

/// A row: texts and numbers by name.
pub type Row = HashMap<String, Held>;

/// A value.
pub enum Held {
    /// A text.
    Text(String),
    /// A number that is not negative.
    Number(u64),
}

/// What came of it.
pub enum Answer {
    /// These rows.
    Rows(Vec<Row>),
    /// This system has nothing of the kind.
    Absent,
    /// Why there is no answer.
    Failed(String),
}

/// Asks.
pub fn ask(namespace: &'static str, query: &'static str) -> Answer {
    if HANGS.swap(true, Ordering::AcqRel) {
        return Answer::Failed("an earlier question to WMI is not answered yet".into());
    }
    let (sender, receiver) = mpsc::channel();
    let asked = std::thread::Builder::new().name("wmi".into()).spawn(move || {
        let rows = WMIConnection::with_namespace_path(namespace)
            .and_then(|wmi| wmi.raw_query::<HashMap<String, Variant>>(query))
            .map(|rows| rows.into_iter().map(row).collect::<Vec<Row>>());
        HANGS.store(false, Ordering::Release);
        // Whoever asked may have gone.
        let _ = sender.send(rows);
    });
    if let Err(error) = asked {
        HANGS.store(false, Ordering::Release);
        return Answer::Failed(format!("failed to start a thread for WMI: {error}"));
    }
    match receiver.recv_timeout(TIME_MAX) {
        Ok(Ok(rows)) => Answer::Rows(rows),
        Ok(Err(WMIError::HResultError { hres })) if ABSENT.contains(&hres) => Answer::Absent,
        Ok(Err(error)) => Answer::Failed(format!("WMI ({namespace}): {error}")),
        Err(_) => Answer::Failed(format!("WMI ({namespace}) did not answer within {} s", TIME_MAX.as_secs())),
    }
}

/// What is neither text nor number is not asked for.
fn row(values: HashMap<String, Variant>) -> Row {
    let held = |value| {
        Some(match value {
            Variant::String(text) => Held::Text(text),
            Variant::UI1(number) => Held::Number(number.into()),
            Variant::UI2(number) => Held::Number(number.into()),
            Variant::UI4(number) => Held::Number(number.into()),
            Variant::UI8(number) => Held::Number(number),
            Variant::I4(number) => Held::Number(number.try_into().ok()?),
            Variant::I8(number) => Held::Number(number.try_into().ok()?),
            _ => return None,
        })
    };
    values.into_iter().filter_map(|(name, value)| Some((name, held(value)?))).collect()
}

/// A value as text.
pub fn text(row: &Row, name: &str) -> Option<String> {
    match row.get(name)? {
        Held::Text(text) => Some(text.clone()),
        Held::Number(_) => None,
    }
}

/// A value as a number.
pub fn number(row: &Row, name: &str) -> Option<u32> {
    match row.get(name)? {
        Held::Number(number) => u32::try_from(*number).ok(),
        Held::Text(_) => None,
    }
}
