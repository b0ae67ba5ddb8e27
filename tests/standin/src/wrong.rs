//! What can go wrong between a far side and who asks it. Invariant: each happens to one request.

use serde::{Deserialize, Serialize};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// It gets lost on its way: nothing is done, nothing is answered.
    LostBefore,
    /// Its answer gets lost: it is done, nothing is answered.
    LostAfter,
    /// It is answered with this status, and not done.
    Status {
        /// 500, 429, 401 …
        status: u16,
        /// With a `Retry-After`.
        retry_after_s: Option<u32>,
    },
    /// It arrives twice.
    Twice,
    /// Its body arrives in part, then the connection breaks.
    Torn,
}
