//! What can be wrong with a database, and what to do about it. Invariant: no password stands in an error; what
//! passes by itself is told apart from what needs a person.

use std::error::Error as _;
use std::path::PathBuf;

use tokio_postgres::error::SqlState;

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be used.
    #[error("the journal's address cannot be used: {why}")]
    Address {
        /// What is wrong with it.
        why: String,
    },
    /// The authority's file cannot be used.
    #[error("`{path}` holds no certificates to trust: {why}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be reached, or does not answer; nothing of what was to be written is kept.
    #[error("`{place}` cannot be reached")]
    Away {
        /// Where it is.
        place: String,
        /// What the last attempt said.
        #[source]
        source: Box<Self>,
    },
    /// It went away while it was asked to keep a batch, and could not be asked since whether it did. That is looked up
    /// before the next one.
    #[error("`{place}` went away before it said whether it kept a batch")]
    InDoubt {
        /// Where it is.
        place: String,
        /// What the last attempt said.
        #[source]
        source: Box<Self>,
    },
    /// It said no, or the connection ended.
    #[error("failed to {act} `{place}`{}", said(source))]
    Sql {
        /// What was tried.
        act: &'static str,
        /// Where it is.
        place: String,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// No answer in time.
    #[error("failed to {act} `{place}`: no answer in {seconds} s")]
    Silent {
        /// What was tried.
        act: &'static str,
        /// Where it is.
        place: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// It is set to lose what it said was kept.
    #[error("`{place}` runs with `{setting}` = `{value}`: what it says is kept may be lost")]
    Unsafe {
        /// Where it is.
        place: String,
        /// Which setting.
        setting: String,
        /// Its value.
        value: String,
    },
    /// Its tables are not those of this version.
    #[error("{}", of_version(place, *found, *known))]
    Version {
        /// Where it is.
        place: String,
        /// The version of its tables; none where there are none.
        found: Option<i32>,
        /// The version known here.
        known: i32,
    },
    /// A record is not there, or not as it was written.
    #[error("record {position} in `{place}` {what}")]
    Damaged {
        /// Where it is.
        place: String,
        /// Which record.
        position: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It holds other records than before.
    #[error("`{place}` does not hold the records that were read from it before: {what}")]
    Other {
        /// Where it is.
        place: String,
        /// How it shows.
        what: String,
    },
    /// Records were taken away from it.
    #[error(
        "`{place}` lacks the records from {from} up to {until}: they are neither in its table nor in an archive"
    )]
    Gap {
        /// Where it is.
        place: String,
        /// The first that is not there.
        from: u64,
        /// The first that is there again; the size where nothing is.
        until: u64,
    },
    /// Another collector has taken the jobs over; nothing was kept.
    #[error("another collector on `{place}` has taken the jobs over")]
    Superseded {
        /// Where it is.
        place: String,
    },
    /// Others have appended to it; nothing was kept.
    #[error("`{place}` has records already, {size} of them")]
    Longer {
        /// Where it is.
        place: String,
        /// How many.
        size: u64,
    },
    /// The system gave no runtime to ask it with.
    #[error("failed to start a runtime for the database")]
    Runtime(#[from] std::io::Error),
    /// An earlier error was final.
    #[error("`{place}` is given no more records since an earlier error")]
    Failed {
        /// Where it is.
        place: String,
    },
}

impl PostgresError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Address { .. } => "write `journal = \"postgres://USER@HOST/DATABASE\"`; its password goes into the file \
                                     that `journal_password_file` names, or into SEATBEAT_JOURNAL_PASSWORD"
                .into(),
            Self::Authority { .. } => {
                "`journal_certificate` names the PEM file of the authority that signed the database's certificate".into()
            }
            Self::Away { .. } | Self::Silent { .. } => {
                "start it, or look at the network in between; it is tried again by itself".into()
            }
            Self::InDoubt { .. } => {
                "start it, or look at the network in between; the journal shows then what was kept".into()
            }
            Self::Unsafe { setting, .. } => format!("set `{setting} = on` in postgresql.conf, and start PostgreSQL again"),
            Self::Version { found, known, .. } if found.is_some_and(|found| found > *known) => {
                "start the version that made these tables, or a later one".into()
            }
            Self::Version { .. } => "`seatbeat migrate` makes them".into(),
            Self::Damaged { .. } | Self::Other { .. } => {
                "restore the database from its backup (up to its newest WAL), or fail over to the replica that has all; \
                 a collector's own copy of the records lies in `journal` in its store, and `seatbeat journal copy` makes \
                 a new database of it"
                    .into()
            }
            Self::Gap { .. } => {
                "attach that month's partition again, or restore the database from its backup: months go by themselves \
                 once `[archive]` says where to, never by hand. A collector's own copy of the records lies in `journal` \
                 in its store, and `seatbeat journal copy` makes a new database of it"
                    .into()
            }
            Self::Failed { .. } => "restart; the first error is in the log".into(),
            Self::Longer { .. } => "name an empty database".into(),
            Self::Superseded { .. } | Self::Runtime(_) => return None,
            Self::Sql { source, .. } => return hint_of(source),
        })
    }

    /// Whether nothing was kept and a later try may succeed.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether nothing was kept, or nobody knows, and what comes next is not touched by it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Superseded { .. } | Self::Longer { .. } | Self::InDoubt { .. })
    }

    /// Whether the same may succeed when it is tried again, perhaps over another connection.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Sql { source, .. } => match source.code() {
                Some(code) => {
                    let class = code.code().get(..2).unwrap_or_default();
                    // 25006: it is a replica by now, and another one is not.
                    matches!(class, "08" | "40" | "53" | "55" | "57" | "58")
                        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
                        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                }
                // The connection, or the database while it starts, stops or is not there.
                None => !is_refusal(source),
            },
            _ => false,
        }
    }

    /// Whether the database has no room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Sql { source, .. } if source.code() == Some(&SqlState::DISK_FULL))
    }

    /// Whether the database certainly kept nothing of a transaction whose commit answered this.
    pub(crate) fn undid(&self) -> bool {
        match self {
            Self::Sql { source, .. } => source.code().is_some_and(|code| {
                let class = code.code().get(..2).unwrap_or_default();
                // Not 57: who stops the database may end a session that has committed already.
                // Nor this one: it says that nobody knows.
                matches!(class, "22" | "23" | "25" | "40" | "42" | "53" | "54")
                    && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
            }),
            _ => false,
        }
    }
}

/// What the database said in its own words; anything else tells the source itself.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!(": {} ({})", said.message(), said.code().code()),
        None => String::new(),
    }
}

/// A failed handshake or sign-in: whoever is there is not whom the address means.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let tls = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    tls.and_then(std::io::Error::get_ref).is_some_and(|inner| inner.is::<rustls::Error>())
        || error.to_string().starts_with("authentication error")
        || error.to_string().starts_with("invalid configuration")
}

fn hint_of(error: &tokio_postgres::Error) -> Option<String> {
    let Some(code) = error.code() else {
        let hint = if is_refusal(error) {
            "look at its password (`journal_password_file`) and at the authority of its certificate (`journal_certificate`)"
        } else {
            "start it, or look at the network in between"
        };
        return Some(hint.into());
    };
    let hint = match code.code() {
        "28P01" | "28000" => {
            "put its password into the file that `journal_password_file` names, or into SEATBEAT_JOURNAL_PASSWORD"
        }
        "3D000" => "`createdb` makes it; then `seatbeat migrate`",
        "42501" => {
            "the user has to own the database's schema `seatbeat`: `seatbeat migrate` as the same user makes it"
        }
        "53100" => "free some space on the database's disk; appending goes on by itself then",
        _ => return None,
    };
    Some(hint.into())
}

fn of_version(place: &str, found: Option<i32>, known: i32) -> String {
    match found {
        None => format!("`{place}` has no tables of Seatbeat's"),
        Some(found) if found > known => {
            format!("the tables in `{place}` have version {found}; this program knows version {known}")
        }
        Some(found) => {
            format!("the tables in `{place}` have version {found}, this program needs version {known}")
        }
    }
}
